"""One kernel of a host, which a program starts or attaches to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .. import errors
from ..cli import kernels
from ..jupyter import persistence
from ..link.thread import wait_for
from ..server.address import ServerKernelAddress

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import AsyncKernelManager

    from ..jupyter.provisioner import SSHKernelProvisioner
    from ..remotekernel import RemoteKernel, Status


class Kernel:
    """A kernel on a host that this process is attached to: see `start` and `attach`.

    As a context manager it ends the kernel where `start` has started it, and leaves it otherwise.
    """

    def __init__(self, manager: AsyncKernelManager, *, ends: bool) -> None:
        self._manager = manager
        self._ends = ends
        self._is_there = True

    @property
    def id(self) -> str:
        """The id that `sshpyk ps` shows."""
        address = self._remote.address
        return address.id if isinstance(address, ServerKernelAddress) else address.agent.id

    @property
    def host(self) -> str:
        """What one gives to ssh, or what the place is called."""
        return self.status.host

    @property
    def status(self) -> Status:
        """How it is now; `to_json` has it for other programs."""
        return self._remote.status

    @property
    def language(self) -> str:
        """The language that it runs, in lower case."""
        facts = self._remote.facts
        return facts["language"].lower() if facts is not None else ""

    @property
    def connection_file(self) -> str:
        """The path of a file with which any Jupyter client of this machine connects."""
        return str(self._manager.connection_file)

    def client(self) -> BlockingKernelClient:
        """A Jupyter client whose channels are started; call its `stop_channels` after."""
        client = self._manager.blocking_client()
        client.start_channels()
        return client

    def execute(self, code: str, *, timeout: float | None = None) -> str:
        """Run `code` and wait; what it wrote to stdout.

        Raises `CodeRaised` where it raised, TimeoutError after `timeout` seconds.
        """
        written: list[str] = []

        def take(message: Mapping[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                written.append(content["text"])

        client = self.client()
        try:
            client.wait_for_ready(timeout=timeout)
            reply = client.execute_interactive(
                code, timeout=timeout, output_hook=take, allow_stdin=False
            )["content"]
        finally:
            client.stop_channels()
        if reply["status"] != "ok":
            raise errors.CodeRaised(
                text=f"{reply.get('ename', reply['status'])}: {reply.get('evalue', '')}",
                details="\n".join(map(str, reply.get("traceback", []))),
            )
        return "".join(written)

    def interrupt(self) -> None:
        """As Ctrl+C in a notebook. Where the host is away it is done once that is back."""
        wait_for(self._manager.interrupt_kernel())

    def restart(self) -> None:
        """Start it again in place; the clients' connections stay."""
        wait_for(self._manager.restart_kernel())

    def leave(self) -> None:
        """End our side. The kernel goes on, and `attach` comes back to it."""
        self._close(persistent=True)

    def stop(self) -> None:
        """End the kernel and our side."""
        self._close(persistent=False)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(persistent=not self._ends)

    @property
    def _provisioner(self) -> SSHKernelProvisioner:
        from ..kernelapp.manager import provisioner_of

        return provisioner_of(self._manager)

    @property
    def _remote(self) -> RemoteKernel:
        kernel = self._provisioner.kernel
        if kernel is None:
            raise errors.LinkClosed(host=self._provisioner.host_name)
        return kernel

    def _close(self, *, persistent: bool) -> None:
        if self._is_there:
            self._is_there = False
            wait_for(_close(self._manager, persistent=persistent))


async def _close(manager: AsyncKernelManager, *, persistent: bool) -> None:
    from ..kernelapp.manager import provisioner_of

    provisioner_of(manager).persistent = persistent
    await manager.shutdown_kernel()
    manager.context.destroy(linger=100)


async def _open(name: str, settings: dict[str, Any], cwd: str | None) -> AsyncKernelManager:
    from ..kernelapp.manager import make_manager

    manager = make_manager(name, settings)
    try:
        await manager.start_kernel(**({} if cwd is None else {"cwd": cwd}))
    except BaseException:
        manager.context.destroy(linger=100)
        raise
    return manager


def start(name: str, *, cwd: str | None = None, **settings: Any) -> Kernel:
    """Start a kernel of the kernelspec `name`, one of `sshpyk list`.

    It works in the directory of the host that corresponds to `cwd` here; `settings` are those of
    the reference, over the kernelspec's own. Where the kernelspec has a `session` whose kernel
    runs, attaches to that. Raises `SshpykError`; nothing is left then.
    """
    manager = wait_for(_open(name, settings, cwd))
    kernel = Kernel(manager, ends=False)
    kernel._ends = not kernel._provisioner.persistent
    return kernel


def attach(name: str, *, hosts: Sequence[str] = (), ssh_config: str | None = None) -> Kernel:
    """Attach to a kernel that runs: by its id, the beginning of that, its session's name, or its
    persistence file. `hosts` is where to look, if not on those of all kernelspecs.

    Raises `SshpykError`.
    """

    async def work() -> AsyncKernelManager:
        path = os.path.expanduser(name)
        survey, found = await kernels.locate(name, hosts, ssh_config)
        if not os.path.isfile(path):
            path = persistence.default_path(found["id"])
            if not os.path.exists(path):
                await kernels.save(survey.place, found["id"], path)
        return await _open("", {"existing": os.path.abspath(path), "persistent": True}, None)

    return Kernel(wait_for(work()), ends=False)
