"""Kernels of Jupyter Servers, as commands see those of hosts."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import errors
from ..jupyter import kernelspec
from ..jupyter.places import server_of
from ..server.address import ServerAddress, ServerKernelAddress, split
from ..ssh.command import Destination
from .place import Place

if TYPE_CHECKING:
    from ..server.rest import Server
    from ..wire.requests import Request


@dataclass(frozen=True)
class OnServer(Place):
    """A server in place of a host: `ask` takes the requests of jobs, as far as they make sense."""

    address: ServerAddress
    ids: tuple[str, ...] = ()  # of kernels that it may have, and not list

    @property
    def host(self) -> str:
        """As people call it."""
        return self.address.host

    @property
    def argument(self) -> str:
        """Its URL: without the scheme it would be an ssh host."""
        return self.host if self.address.through is not None else self.address.url

    async def ask(self, request: Request) -> dict[str, Any]:
        """What the job would answer; on the I/O thread. Raises `SshpykError`."""
        from ..server.rest import Server

        server = Server(self.address)
        if request["do"] == "kernels":
            return await _kernels(server, self.ids)
        if request["do"] in ("stop", "interrupt"):
            id = str(request["id"])
            try:
                if request["do"] == "stop":
                    await server.ask("DELETE", "kernels", id, timeout=90.0)
                    return {"stopped": True}
                await server.ask("POST", "kernels", id, "interrupt", timeout=90.0)
                return {"done": True}
            except LookupError:
                raise errors.KernelGone(host=self.host, why="the server does not know it") from None
        raise self.no(f"`sshpyk {request['do']}` is about kernels on hosts")

    def asking(self, id: str) -> OnServer:
        """The same, and a kernel that has this id is found where only that finds it."""
        return replace(self, ids=(*self.ids, id))

    def no(self, why: str) -> errors.SettingsError:
        """The error where a command does not apply."""
        return errors.SettingsError(
            text=f"{why}, and {self.host} is a Jupyter Server.",
            advice="What there is of a kernel, the server's own page shows:",
            command=f"sshpyk browse {self.address.url}",
        )

    def save(self, id: str, path: str) -> None:
        """Write the persistence file of a kernel."""
        from ..jupyter import persistence

        where = ServerKernelAddress(self.address, id)
        persistence.ServerPersistence(where, id).write(path)


class Carried(OnServer):
    """The same where a kernel has an agent: its `destination` is the server, as a transport."""

    async def ask(self, request: Request) -> dict[str, Any]:
        """What the job answers, or the server where the kernel is the server's to end."""
        if request["do"] in ("stop", "interrupt"):
            return await super().ask(request)
        return await Place.ask(self, request)

    def save(self, id: str, path: str) -> None:
        """The file is what named it."""


def of_url(text: str) -> OnServer:
    """The server that a URL names, as a kernelspec knows it where one does."""
    url, _ = split(text)
    for known in of_kernelspecs():
        if known.address.url == url:
            return known
    return _on(ServerAddress(url))


def of_kernelspecs() -> list[OnServer]:
    """The servers of all kernelspecs; not those that only a host reaches."""
    found: dict[ServerAddress, OnServer] = {}
    for spec in kernelspec.all_specs().values():
        address = server_of(spec.config) if spec.is_ours else None
        if address is not None and address.through is None and not address.is_binders:
            server = found.get(address) or _on(address)
            id = spec.config.get("server_kernel_id")
            found[address] = server.asking(str(id)) if id else server
    return list(found.values())


def _on(address: ServerAddress) -> OnServer:
    return OnServer(Destination(address.host), "", address)


async def _kernels(server: Server, ids: Sequence[str]) -> dict[str, Any]:
    """What runs there, as the job "kernels" has it; what a server does not tell is None."""
    await server.kernelspecs()  # which says what is wrong, where the others only say nothing
    sessions = {
        s["kernel"].get("id"): s.get("name") or s.get("path") for s in await server.sessions()
    }
    found = []
    for kernel in await server.kernels(*ids):
        at = _seconds(kernel.get("last_activity"))
        is_busy = {"busy": True, "idle": False}.get(str(kernel.get("execution_state")))
        clients = kernel.get("connections")
        found.append(
            {
                "id": kernel["id"],
                "host": None,
                "session": str(sessions.get(kernel["id"]) or ""),
                "started_at": None,
                "persistent": True,
                "kernel": {"name": str(kernel.get("name")), "pid": None, "exited": None},
                "status": {
                    "attached": clients if isinstance(clients, int) else 0,
                    "parted": {"state": "detached", "since": None},
                    "busy": None if at is None else is_busy,
                    "busy_since": at,
                },
            }
        )
    return {"now": 0.0, "kernels": found, "ended": [], "unlisted": not server.lists_kernels}


def _seconds(time: object) -> float | None:
    """A time as servers write it, in seconds since 1970; None where it is none."""
    try:
        return datetime.datetime.fromisoformat(str(time).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
