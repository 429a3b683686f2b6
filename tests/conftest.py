"""What every test may use: the throwaway server, the real one, and a Jupyter of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.sshd import Sshd, available

if TYPE_CHECKING:
    from sshpyk.demo.sandbox import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of the tests a directory of its own for masters and forwards.

    And the signals of keys: a shell ignores them for what it runs in the background, and so would
    every program that a test starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    directory = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    os.environ["XDG_RUNTIME_DIR"] = directory
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a real sshd where there is none, but never on CI."""
    if item.get_closest_marker("sshd") and (reason := available()):
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must not skip tests: {reason}", pytrace=False)
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
def remote_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory on a file's servers: an empty one, not that of who runs the tests, nor
    of other files, so that what a file's kernels leave can be told."""
    return tmp_path_factory.mktemp("home")


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
    with Sshd(link=True, home=tmp_path) as server:
        yield server
