"""What the tests with a Jupyter of their own share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd


@pytest.fixture(scope="module")
def remote_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory on the server, of a file's tests alone: others leave things in theirs."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def sshd(remote_home: Path) -> Iterator[Sshd]:
    """A real sshd for a file's tests alone, with a private directory here for its master's socket
    and the forwards: what is left of either can be told from what others are at."""
    with (
        tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as patch,
        Sshd(home=remote_home) as server,
    ):
        patch.setenv("XDG_RUNTIME_DIR", name)
        yield server


@pytest.fixture
def clean(sshd: Sshd, remote_home: Path) -> Iterator[Leftovers]:
    """In the end nothing may be left of the test's kernels, on either side."""
    leftovers = Leftovers(sshd, remote_home)
    yield leftovers
    leftovers.assert_clean(masters=1)
    assert list(Path(os.environ["JUPYTER_RUNTIME_DIR"]).glob("*kernel-*")) == []
