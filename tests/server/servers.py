"""Jupyter Servers that are the remote side, and kernelspecs that mean their kernels."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.server.kernel import ServerKernel
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE


@contextlib.contextmanager
def remote(root: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server with Jupyter directories of its own, as on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("RUNTIME", "DATA", "CONFIG"):
            patch.setenv(f"JUPYTER_{variable}_DIR", str(root / variable.lower()))
        patch.setenv("IPYTHONDIR", str(root / "ipython"))
        started = Server(root, *options, env=env)
    with started:
        yield started


def write_card(name: str, url: str, **config: Any) -> None:
    """A kernelspec for the server at `url`, by the plain way unless `config` says otherwise; its
    token is in the variable SERVER_TOKEN."""
    directory = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name
    directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "server_url": url,
        "remote_kernel_name": "python3",
        "token_env": "SERVER_TOKEN",
        "server_way": "plain",
        **config,
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    content = {
        "argv": ["sshpyk-kernel"],
        "display_name": name,
        "language": "python",
        "metadata": {
            "kernel_provisioner": {"provisioner_name": "sshpyk-provisioner", "config": settings}
        },
    }
    (directory / "kernel.json").write_text(json.dumps(content))


def kernel_of(manager: KernelManager) -> ServerKernel:
    """A manager's kernel, which is on a server."""
    assert isinstance(manager.provisioner, SSHKernelProvisioner)
    assert isinstance(manager.provisioner.kernel, ServerKernel)
    return manager.provisioner.kernel


def until_none(server: Server) -> None:
    """Wait until the server has no kernel any more: a helper ends a moment after the others."""
    deadline = time.monotonic() + PATIENCE
    while left := running(server):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def running(server: Server) -> list[str]:
    """The ids of the kernels that the server has."""
    status, kernels = server.call("GET", "kernels")
    assert status == 200
    return [kernel["id"] for kernel in kernels]
