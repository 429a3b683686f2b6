"""What the tests with a browser share: it takes seconds to begin, so a file has one of each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import CHROMIUM, chromium
from tests.jupyter.server import Server
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module", autouse=True)
def own_directories() -> Iterator[None]:
    """Jupyter's directories, and that of masters, of a file's tests alone."""
    with (
        tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", name)
        for variable in ("RUNTIME_DIR", "DATA_DIR", "CONFIG_DIR"):
            patch.setenv(f"JUPYTER_{variable}", os.path.join(name, variable.lower()))
        patch.setenv("IPYTHONDIR", os.path.join(name, "ipython"))
        yield


@pytest.fixture(autouse=True)
def own_jupyter() -> None:
    """Not a test's own: the server of the file has begun with `own_directories`."""


@pytest.fixture(scope="module")
def sshd(own_directories: None, remote_home: Path) -> Iterator[Sshd]:
    """A real sshd behind a link, and the kernel "remote" on it."""
    with Sshd(link=True, home=remote_home) as server:
        write_spec("remote", server)
        yield server


@pytest.fixture(scope="module")
def server(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter Server that has the kernel, with the extensions that the environment has."""
    with Server(tmp_path_factory.mktemp("work")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    pytest.importorskip("jupyterlab")
    with chromium() as browser:
        yield browser
