"""What every test may use: the throwaway server, the real one, and a Jupyter of its own.

Nothing here may need more than pytest and hypothesis when it is imported: `pytest tests/wire
tests/link` runs where nothing else is installed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import unclosed
from tests.lab.sshd import Sshd, available
from tests.trust import Trust

if TYPE_CHECKING:
    from sshpyk.demo.sandbox import Sandbox

# How long one example takes says how busy the machine is, not whether the code is right. In CI the
# examples are the same each time, so that a failure is the change's own.
settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.register_profile("few", settings.get_profile("ours"), max_examples=10)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ours"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the settings of plugins that are not installed, and do without them."""
    with contextlib.suppress(ValueError):  # pytest-timeout has said so
        parser.addini("timeout", "seconds for a test, by pytest-timeout", default="0")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """With pytest-xdist, keep the tests of a file together: they share servers and kernels.

    And in the order of `pytest_collection_modifyitems`.
    """
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


#: The files that take minutes, the longest first: begun last, one worker would have them to itself.
LONGEST = (
    "faults/test_soak.py",
    "jupyter/test_upstream_server.py",
    "jupyter/test_upstream_nbclient.py",
    "starts/test_cancelled.py",
    "security/test_fuzz.py",
    "faults/test_faults.py",
    "jupyter/test_upstream_client.py",
    "test_readme.py",
    "browser/test_lab.py",
)


#: Why a test with a real sshd and real kernels may be tried once more. Each that was is named, and
#: no more than `tests.trust.MOST_RETRIED` may be.
BUSY = "real sshd, ssh and kernels on a machine of two cores that others keep busy"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; let those with real servers be tried once more."""
    for item in items:
        if item.get_closest_marker("sshd") and not item.get_closest_marker("flaky"):
            item.add_marker(pytest.mark.flaky(reruns=1, reason=BUSY))
    places = {str(Path(__file__).parent / file): place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONGEST)))


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of the tests a directory of its own for masters and forwards.

    And the signals of keys: a shell ignores them for what it runs in the background, and so would
    every program that a test starts.
    """
    config.pluginmanager.register(Trust())
    # As in `tests/lab/absent`, for what tests import themselves.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # so Python has it
    # With SSHPYK_FORK_SERVER=1 all tests have fork servers, which come at once and end with their
    # file.
    if os.environ.setdefault("SSHPYK_FORK_SERVER", "0") != "0":
        from tests.lab.forks import quick

        stack = contextlib.ExitStack()
        stack.enter_context(quick(linger=60.0))
        config.add_cleanup(stack.close)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    directory = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    os.environ["XDG_RUNTIME_DIR"] = directory
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


def pytest_sessionstart() -> None:
    """Name the place where a socket was made that nobody has closed."""
    unclosed.note()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a real sshd where there is none."""
    if item.get_closest_marker("sshd") and (reason := available()):
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def own_jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Jupyter directories of this test's own; the running interpreter's kernelspecs stay found.

    In a short path, because with the ipc transport sockets are in the runtime directory.
    """
    with tempfile.TemporaryDirectory(prefix="jupyter-", dir="/tmp") as name:
        for variable, directory in (
            ("JUPYTER_RUNTIME_DIR", "runtime"),
            ("JUPYTER_DATA_DIR", "data"),
            ("JUPYTER_CONFIG_DIR", "config"),
            ("IPYTHONDIR", "ipython"),
        ):
            monkeypatch.setenv(variable, os.path.join(name, directory))
        yield Path(name)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A directory for unix sockets, whose paths may have 104 bytes: pytest's own are longer."""
    path = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def remote_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home directory on a file's servers: an empty one, not that of who runs the tests, nor
    of other files, so that what a file's kernels leave can be told."""
    home = tmp_path_factory.mktemp("home")
    yield home
    from tests.lab.forks import end_all

    end_all(home)


@pytest.fixture(scope="module")
def sandbox(remote_home: Path) -> Iterator[Sandbox]:
    """A throwaway server that a file's tests share; who drops or refuses puts it right again."""
    from sshpyk.demo.sandbox import Sandbox  # with paramiko, which tests/wire does without

    with Sandbox(environment={"HOME": str(remote_home)}) as server:
        yield server


@pytest.fixture(scope="module")
def sshd(remote_home: Path) -> Iterator[Sshd]:
    """A real sshd that a file's tests share; mark those `sshd`."""
    with Sshd(home=remote_home) as server:
        yield server


@pytest.fixture
def linked_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real sshd of this test's own behind a link, `.link`; mark the test `sshd`."""
    from tests.lab.forks import end_all

    with Sshd(link=True, home=tmp_path) as server:
        yield server
    end_all(tmp_path)
