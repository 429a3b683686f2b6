"""Remote kernels for tests: kernelspecs of ours, managers and clients that clean up."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_client.multikernelmanager import AsyncMultiKernelManager
from jupyter_core.paths import jupyter_runtime_dir

from sshpyk.demo.sandbox import Sandbox
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.link.link import Link
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from sshpyk.remotekernel import RemoteKernel, Status
    from sshpyk.wire.requests import KernelFacts

#: Seconds for anything that should take one or two; the machine may be busy.
PATIENCE = 60.0

#: Where agents keep what they know, below a home.
STATE = Path(".local/state/sshpyk/kernels")


def write_spec(name: str, server: Sshd | Sandbox, *, spec: Any = None, **config: Any) -> Path:
    """Write a kernelspec called `name` for the host `server`; its directory.

    `config` goes into the provisioner's stanza over a working default; `spec` into kernel.json.
    """
    place = {"ssh_host_alias": server.host, "ssh_config": str(server.ssh_config)}
    return write_card(name, spec=spec, **{**place, **config})


def write_card(name: str, *, spec: Any = None, **config: Any) -> Path:
    """The same for any place, which `config` names."""
    directory = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"remote_python": sys.executable, "remote_kernel_name": "python3", **config}
    stanza = {"provisioner_name": "sshpyk-provisioner", "config": settings}
    content = {
        "argv": [sys.executable, "-m", "sshpyk.kernelapp"],
        "display_name": name,
        "language": "python",
        **(spec or {}),
    }
    content["metadata"] = {**content.get("metadata", {}), "kernel_provisioner": stanza}
    (directory / "kernel.json").write_text(json.dumps(content))
    return directory


@contextlib.contextmanager
def started(name: str, **kwargs: Any) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """A running kernel of the kernelspec `name`, with a client that is ready; shut down after."""
    manager = KernelManager(kernel_name=name)
    manager.start_kernel(**kwargs)
    try:
        with client_of(manager) as client:
            yield manager, client
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel()
        manager.context.destroy(linger=100)


@contextlib.asynccontextmanager
async def many() -> AsyncIterator[Any]:
    """A manager of many kernels, as Jupyter Server has one; all are shut down after."""
    multi: Any = AsyncMultiKernelManager(connection_dir=jupyter_runtime_dir())
    try:
        yield multi
    finally:
        await multi.shutdown_all()
        multi.context.destroy(linger=100)


@contextlib.contextmanager
def client_of(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    """A client that is ready, of a kernel that runs."""
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()


def run_code(client: BlockingKernelClient, code: str, timeout: float = PATIENCE) -> str:
    """Run `code` in the kernel and return what it printed; an error in it is an AssertionError."""
    printed: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=timeout, output_hook=hook)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed)


def left_behind(home: Path) -> list[str]:
    """What agents have left of kernels below a home directory, but for words of how they ended."""
    names = os.listdir(home / STATE) if (home / STATE).is_dir() else []
    return sorted(name for name in names if not name.endswith(".ended.json"))


def remote_kernel_of(manager: KernelManager) -> RemoteKernel:
    """A manager's kernel, which is one of ours."""
    assert isinstance(manager.provisioner, SSHKernelProvisioner)
    assert manager.provisioner.kernel is not None
    return manager.provisioner.kernel


def link_of(manager: KernelManager) -> Link:
    """The link of a manager's kernel, which has an agent."""
    link = remote_kernel_of(manager)
    assert isinstance(link, Link)
    return link


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that nothing tells of."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def until_status(manager: KernelManager, is_so: Callable[[Status], object]) -> Status:
    """Wait for a status of the manager's kernel."""
    seen: queue.SimpleQueue[Status] = queue.SimpleQueue()
    kernel = remote_kernel_of(manager)
    forget = kernel.subscribe(seen.put)
    try:
        status = kernel.status
        while not is_so(status):
            status = seen.get(timeout=PATIENCE)
        return status
    finally:
        forget()


def facts_of(manager: KernelManager) -> KernelFacts:
    """What the agent says of a manager's kernel."""
    facts = link_of(manager).facts
    assert facts is not None
    return facts
