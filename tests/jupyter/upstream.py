"""Other projects' own tests of kernels, run as they are, through the provisioner.

They come with the projects' source archives, of the versions that are installed, and run in
processes of their own: every kernelspec without a provisioner stanza is started by ours
(`JUPYTER_DEFAULT_PROVISIONER_NAME`), on the host or server that the environment names (the `Way`).
What cannot pass, and why, is also in docs/architecture.rst.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.jupyter.server import ABSENT
from tests.lab.kernels import left_behind
from tests.lab.sshd import Sshd

#: Where `keeping` is.
PLUGINS = str(Path(__file__).with_name("plugins"))

#: Seconds for each share.
PATIENCE = 400.0

#: Why what starts a kernel that ends at once cannot pass.
RAISES = (
    "it starts a kernel that ends before it opens its sockets and expects the start to succeed; "
    "ours raises then, with the kernel's own words"
)


@dataclass(frozen=True)
class Suite:
    """What is run of a project's tests: arguments of pytest for each `share`, all at once.

    `plugins` are what its tests need beside what ours do. They are kept out of our own environment,
    where a plugin would change how our tests run. `send_env` are the names of local variables that
    its kernels must see; `env` has those whose values are always the same, for a server that has to
    have them itself, and `kernels` the kernelspecs that the tests make here and it must have: of
    each the module and its variables. `not_applicable` are the tests that can't pass, and why: each
    is run, and must fail, for a list must not grow old. Of the others `fewest` pass; some skip
    themselves.
    """

    package: str
    shares: Sequence[Sequence[str]]
    plugins: Sequence[str]
    fewest: int
    options: Sequence[str] = ()
    send_env: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def release(self) -> str:
        """Name and version, as the archive has them."""
        return f"{self.package}-{version(self.package)}"


#: Where a suite's kernels run. Of a suite, the environment of such kernels and a directory of its
#: own it makes the variables that lead there, and in the end it sees that nothing is left.
Way = Callable[[Suite, Mapping[str, str], Path], AbstractContextManager[Mapping[str, str]]]


@contextmanager
def over_ssh(
    suite: Suite, kernels_env: Mapping[str, str], directory: Path
) -> Iterator[Mapping[str, str]]:
    """On a host of its own, which gets the kernels' variables with each start."""
    home = directory / "home"
    home.mkdir()
    with Sshd(home=home) as sshd:
        yield {
            "SSHPYK_SSH_HOST_ALIAS": sshd.host,
            "SSHPYK_SSH_CONFIG": str(sshd.ssh_config),
            "SSHPYK_SEND_ENV": " ".join((*kernels_env, *suite.send_env)),
        }
    assert left_behind(home) == []


def check(
    suite: Suite, request: pytest.FixtureRequest, directory: Path, way: Way = over_ssh
) -> None:
    """Run a suite, and look at its reports."""
    sources = unpacked(suite, request)
    # Here for the plugins, there for the kernels, which may be modules of these tests.
    modules = os.pathsep.join((str(sources / "plugins"), str(sources), PLUGINS, ABSENT))
    kernels_env = {"PYTHONPATH": modules}
    with way(suite, kernels_env, directory) as there:
        results, printed = run_shares(suite, sources, {**kernels_env, **there}, directory)
        look_at(suite, results, printed)


def look_at(suite: Suite, results: Mapping[str, str], printed: str) -> None:
    """See that those failed which cannot pass, and enough of the others passed."""
    failed = {name for name, outcome in results.items() if outcome in ("failure", "error")}
    passed = {name for name, outcome in results.items() if outcome == "passed"}
    assert failed == set(suite.not_applicable), printed
    assert len(passed) >= suite.fewest, sorted(results.items())


def pip(*arguments: str) -> None:
    """Run pip, and show what it says where it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def unpacked(suite: Suite, request: pytest.FixtureRequest) -> Path:
    """A directory with the suite's tests, and `plugins`; kept by pytest's cache where it is on."""
    cache = getattr(request.config, "cache", None)
    directory: Path = (
        cache.mkdir(suite.release)
        if cache
        else request.getfixturevalue("tmp_path_factory").mktemp(suite.release)
    )
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may have the same suite by another way
        if not (directory / "complete").exists():
            _unpack(suite, directory)
    return directory


def _unpack(suite: Suite, directory: Path) -> None:
    source = suite.release.replace("-", "==")
    pip("download", "--no-binary=:all:", "--no-deps", "-d", str(directory), source)
    with tarfile.open(directory / f"{suite.release}.tar.gz") as archive:
        for member in archive:
            _, _, path = member.name.partition("/")
            if path == "pyproject.toml" or path.startswith("tests/"):
                member.name = path
                archive.extract(member, directory, filter="data")
    target = ("--no-deps", "--target", str(directory / "plugins"))
    pip("install", "--upgrade", *target, *suite.plugins)
    (directory / "complete").touch()


def run_shares(
    suite: Suite, sources: Path, there: Mapping[str, str], directory: Path
) -> tuple[dict[str, str], str]:
    """Run all shares at once: the outcome of each test, and what was printed."""
    scripts = os.path.dirname(sys.executable)
    environment = {
        **os.environ,
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "sshpyk-provisioner",
        "ASYNC_TEST_TIMEOUT": "60",  # tornado's default of 5 seconds is for an idle machine
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        **there,
    }
    reports = [directory / f"{number}.xml" for number in range(len(suite.shares))]
    with ThreadPoolExecutor(len(suite.shares)) as pool:
        work = [
            pool.submit(run, sources, [*share, *suite.options], report, environment)
            for share, report in zip(suite.shares, reports, strict=True)
        ]
        printed = "\n".join(one.result() for one in work)
    results: dict[str, str] = {}
    for report in reports:
        assert report.exists(), printed
        results.update(outcomes(report))
    return results, printed


def run(sources: Path, arguments: list[str], report: Path, environment: dict[str, str]) -> str:
    """Run pytest with these arguments, and with `report` in JUnit's format; what it printed."""
    command = [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider", "-q"]
    command += ["-p", "no:rerunfailures", "-p", "no:xdist", "-p", "keeping"]
    command += ["--override-ini=addopts="]
    command += [f"--junit-xml={report}", "--timeout=100"]
    with subprocess.Popen(
        command,
        cwd=sources,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
    return printed


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    """Each test's name, and "passed", "skipped", "failure" or "error"."""
    for case in ElementTree.parse(report).iter("testcase"):
        states = [child.tag for child in case if child.tag in ("skipped", "failure", "error")]
        yield f"{case.get('classname')}.{case.get('name')}", states[0] if states else "passed"
