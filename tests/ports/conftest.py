"""One kernel for a file's tests, and what it serves."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.link.link import Link
from tests.lab.kernels import client_of, link_of, run_code, write_spec
from tests.lab.sshd import Sshd
from tests.ports.servers import SERVE


class Serving(NamedTuple):
    """A kernel that serves: `ports` are the targets by their names."""

    manager: KernelManager
    client: BlockingKernelClient
    ports: dict[str, Any]
    server: Sshd
    home: Path

    @property
    def link(self) -> Link:
        return link_of(self.manager)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A kernel behind a link that can be cut (`server.link`), which serves."""
    home = tmp_path_factory.mktemp("home")
    data = tmp_path_factory.mktemp("jupyter")
    sockets = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    with (
        pytest.MonkeyPatch.context() as patch,
        Sshd(link=True, home=home) as server,
    ):
        for variable in ("DATA", "RUNTIME", "CONFIG"):
            patch.setenv(f"JUPYTER_{variable}_DIR", str(data / variable))
        write_spec("serving", server, env={"SOCKETS": sockets})
        manager = KernelManager(kernel_name="serving")
        manager.start_kernel()
        try:
            with client_of(manager) as client:
                ports = json.loads(run_code(client, SERVE))
                yield Serving(manager, client, ports, server, home)
        finally:
            manager.shutdown_kernel()
            manager.context.destroy(linger=100)
    shutil.rmtree(sockets)


@pytest.fixture
def card(serving: Serving) -> str:
    """The kernelspec of the serving kernel, for commands of this test; its name."""
    write_spec("serving", serving.server)
    return "serving"
