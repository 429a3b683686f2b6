"""jupyter_client's own tests of its kernel managers, through the provisioner and over ssh.

They come with its source archive and run as they are, in processes of their own: every kernelspec
without a provisioner stanza is started by ours (`JUPYTER_DEFAULT_PROVISIONER_NAME`), on the host
that the environment names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.lab.kernels import left_behind
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

#: What upstream's tests need beside what ours do. Kept out of our own environment, where a plugin
#: would change how our tests run.
PLUGINS = ("pytest-jupyter==0.11.0",)

#: What runs at once: most of the time these tests wait.
SHARES = (
    ["tests/test_kernelmanager.py::TestParallel"],
    ["tests/test_kernelmanager.py", "--deselect=tests/test_kernelmanager.py::TestParallel"],
    ["tests/test_multikernelmanager.py"],
    ["tests/test_restarter.py"],
)

#: Seconds for each share.
PATIENCE = 270.0

_RAISES = (
    "it starts a kernel that dies before it opens its sockets and expects the start to succeed; "
    "ours raises then, with the kernel's own words. That the restarter gives up on a kernel that "
    "can't start again is tested in test_managers.py"
)

#: The tests that cannot apply, and why. Each is run, and must fail: a list must not grow old.
NOT_APPLICABLE = {
    "tests.test_restarter.test_restarter_gives_up[tcp]": _RAISES,
    "tests.test_restarter.test_restarter_gives_up[ipc]": _RAISES,
    "tests.test_restarter.test_async_restarter_gives_up[tcp]": _RAISES,
    "tests.test_restarter.test_async_restarter_gives_up[ipc]": _RAISES,
}


def pip(*arguments: str) -> None:
    """Run pip, and show what it says where it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with upstream's tests of the installed version, and `plugins`; kept by pytest's
    cache where that is on."""
    release = f"jupyter_client-{version('jupyter_client')}"
    cache = getattr(request.config, "cache", None)
    directory: Path = cache.mkdir(release) if cache else tmp_path_factory.mktemp(release)
    if not (directory / "complete").exists():
        pip(
            "download",
            "--no-binary=:all:",
            "--no-deps",
            "-d",
            str(directory),
            release.replace("-", "=="),
        )
        with tarfile.open(directory / f"{release}.tar.gz") as archive:
            for member in archive:
                _, _, path = member.name.partition("/")
                if path == "pyproject.toml" or path.startswith("tests/"):
                    member.name = path
                    archive.extract(member, directory, filter="data")
        pip("install", "--upgrade", "--no-deps", "--target", str(directory / "plugins"), *PLUGINS)
        (directory / "complete").touch()
    return directory


def run(upstream: Path, share: list[str], report: Path, environment: dict[str, str]) -> str:
    """Run a share of the tests, with `report` in JUnit's format; what pytest printed."""
    command = [sys.executable, "-m", "pytest", *share, "-p", "no:cacheprovider", "-q"]
    command += ["--override-ini=addopts=", f"--junit-xml={report}", "--timeout=100"]
    with subprocess.Popen(
        command,
        cwd=upstream,
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


# TestParallel forks a pool beside threads, of which Python 3.12 warns; on a busy machine the child
# hangs now and then, and then the whole try has to be made again.
@pytest.mark.flaky(reruns=4)
@pytest.mark.timeout(PATIENCE + 150)
def test_jupyter_clients_own_tests_pass(upstream: Path, tmp_path: Path) -> None:
    # A host of its own: what a try that was ended for its time leaves there is not the next one's.
    home = tmp_path / "home"
    home.mkdir()
    with Sshd(home=home) as sshd:
        all_pass(upstream, sshd, tmp_path)
    assert left_behind(home) == []


def all_pass(upstream: Path, sshd: Sshd, tmp_path: Path) -> None:
    """Run all shares at once, and look at their reports."""
    environment = {
        **os.environ,
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "sshpyk-provisioner",
        "SSHPYK_SSH_HOST_ALIAS": sshd.host,
        "SSHPYK_SSH_CONFIG": str(sshd.ssh_config),
        "ASYNC_TEST_TIMEOUT": "60",  # tornado's default of 5 seconds is for an idle machine
        # Here for the plugins, there for the kernels, which are modules of upstream's tests.
        "PYTHONPATH": f"{upstream / 'plugins'}{os.pathsep}{upstream}",
        "SSHPYK_SEND_ENV": "PYTHONPATH",
    }
    reports = [tmp_path / f"{number}.xml" for number in range(len(SHARES))]
    with ThreadPoolExecutor(len(SHARES)) as pool:
        work = [
            pool.submit(run, upstream, share, report, environment)
            for share, report in zip(SHARES, reports, strict=True)
        ]
        printed = [one.result() for one in work]
        texts = dict(zip(reports, printed, strict=True))
    results: dict[str, str] = {}
    for report, text in texts.items():
        assert report.exists(), text
        results.update(outcomes(report))
    failed = {name for name, outcome in results.items() if outcome in ("failure", "error")}
    passed = {name for name, outcome in results.items() if outcome == "passed"}
    assert failed == set(NOT_APPLICABLE), "\n".join(texts.values())
    assert len(passed) >= 60, sorted(results.items())  # 68 of 8.10; the others skip themselves
