"""Jupyter Servers of hosts: found or started there, and reached by a local port that leads there.

The port's connections are streams of a link, so websockets live through outages of ssh. All who
use a server in this process share one way to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..link import program
from ..link.log import KernelLog
from ..remotekernel import State
from ..transport import jobs
from ..transport.ways import transport as transport_to
from ..wire.ports import Target
from . import trouble
from .address import HostServer
from .credentials import NOTHING, TOKEN, Secret

if TYPE_CHECKING:
    from ..link.link import Link
    from ..link.ports import LocalPort
    from ..transport.base import Transport

#: Seconds for a login, for a look at what runs there, and for a server to start.
CONNECT = 30.0
LOOK = 30.0
START = 90.0

#: Seconds after which a server that was started for kernels ends by itself: without kernels, and
#: without anybody.
IDLE = 3600

#: What such a server is called among the programs on its host.
NAME = "jupyter-server"


@dataclass(frozen=True)
class Found:
    """A server that runs on a host."""

    pid: int
    port: int
    path: str  # of its socket, where it has no port
    base_url: str
    directory: str
    token: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Found:
        """The one that the host tells of."""
        base = "/" + str(said["base_url"]).strip("/") + "/"
        return cls(
            said["pid"],
            said["port"],
            said["socket"],
            base.replace("//", "/"),
            said["directory"],
            said["token"],
        )

    def __repr__(self) -> str:
        return f"<server {self.name}>"

    @property
    def name(self) -> str:
        """What it is called, for people."""
        return f"{self.path or self.port} ({self.directory})"

    @property
    def target(self) -> Target:
        """Where it listens."""
        return Target(self.path or self.port)


class Way:
    """A local port that leads to a server of a host, as long as it is used."""

    def __init__(
        self, link: Link, port: LocalPort, server: Found, *, is_ours: bool = False
    ) -> None:
        self.link = link
        self.port = port
        self.server = server
        self.is_ours = is_ours  # whether the server was started for it
        self.users = 0

    @property
    def url(self) -> str:
        """The server's address on this machine."""
        return f"http://127.0.0.1:{self.port.local}{self.server.base_url}"

    @property
    def secret(self) -> Secret:
        """What it wants to see: the host itself has told."""
        token = self.server.token
        return Secret(TOKEN, token) if token else Secret(NOTHING)

    @property
    def is_open(self) -> bool:
        """Whether it leads there, or will once the host is back."""
        return self.link.status.state in (State.CONNECTED, State.AWAY)

    @property
    def is_away(self) -> bool:
        """Whether the host is out of reach: connections stay, and wait."""
        return self.link.status.state is State.AWAY

    async def close(self) -> None:
        """End our side, and what was started for it alone."""
        await (self.link.end() if self.link.ends_with_us else self.link.leave())


_ways: dict[HostServer, Way] = {}
_opening: dict[HostServer, asyncio.Lock] = {}


def _forget_all() -> None:
    """A forked child has an I/O thread of its own."""
    _ways.clear()
    _opening.clear()


os.register_at_fork(after_in_child=_forget_all)


async def enter(there: HostServer) -> Way:
    """The way to a server, which is started where there is none; `leave` gives it back.

    On the I/O thread. Raises one of `errors`.
    """
    async with _opening.setdefault(there, asyncio.Lock()):
        way = _ways.get(there)
        if way is None or not way.is_open:
            way = _ways[there] = await open_way(there, is_left=True)
        way.users += 1
        return way


async def leave(way: Way) -> None:
    """It is not used any more by one who has entered."""
    way.users -= 1
    if way.users == 0:
        for there in [there for there, known in _ways.items() if known is way]:
            del _ways[there]
        await way.close()


async def open_way(there: HostServer, *, is_left: bool, local: int | str | None = 0) -> Way:
    """A way of one's own: to a server that runs there, or to one that is started.

    `is_left` is whether one that is started goes on when the way is closed; `local` is as for
    `Link.open_port`. Raises one of `errors`.
    """
    transport = transport_to(there.destination)
    answer = await ask(there)
    found = meant(there, answer)
    log = KernelLog(logging.getLogger("sshpyk"), NAME, transport.host)
    if found is None:
        link = await _start(transport, there, answer, log, is_left=is_left)
        try:
            found = await _started(transport, there, link)
            return Way(link, link.open_port(found.target, local), found, is_ours=True)
        except BaseException:
            await asyncio.shield(link.end())
            raise
    link = await program.start(transport, there.python, "ports", program.SLEEP, log, timeout=LOOK)
    try:
        return Way(link, link.open_port(found.target, local), found)
    except BaseException:
        await asyncio.shield(link.end())
        raise


async def ask(there: HostServer) -> dict[str, Any]:
    """What a host says of its servers, as the job does. Raises one of `errors`."""
    transport = transport_to(there.destination)
    try:
        await within(CONNECT + 1.0, transport.ensure(timeout=CONNECT))
        return await _ask(transport, there, 0)
    except TimeoutError:
        raise errors.Unreachable(
            host=transport.host, command=transport.login.command, details=""
        ) from None


async def _ask(transport: Transport, there: HostServer, pid: int) -> dict[str, Any]:
    timeout = START if pid else LOOK
    return await jobs.ask(
        transport,
        there.python,
        {"do": "servers", "pid": pid, "wanted": there.directory, "python": there.python},
        timeout=timeout,
    )


def meant(there: HostServer, answer: Mapping[str, Any]) -> Found | None:
    """The server that is meant, of those that run; None where one is to be started.

    Raises `NoSuchServer` where that can't be, for it is meant by its port.
    """
    found = [Found.of(said) for said in answer["servers"] if not said["secure"]]
    if there.port:
        for server in found:
            if server.port == there.port:
                return server
        names = ", ".join(server.name for server in found) or "none"
        raise trouble.NoSuchServer(host=there.destination.host, port=there.port, names=names)
    if there.directory:
        found = [server for server in found if server.directory == answer["directory"]]
    return found[0] if found else None


async def _start(
    transport: Transport,
    there: HostServer,
    answer: Mapping[str, Any],
    log: KernelLog,
    *,
    is_left: bool,
) -> Link:
    host = there.destination.host
    programs: Mapping[str, str] = answer["programs"]
    if not programs:
        raise trouble.NoServerProgram(host=host, python=there.python)
    if not answer["directory"]:
        raise trouble.NoDirectory(host=host, path=there.directory)
    # A person wants the one with the most pages, which the job names first.
    path = next(iter(programs.values()))
    return await program.start(
        transport,
        there.python,
        NAME,
        command(path, answer, is_left=is_left),
        log,
        env={"JUPYTER_TOKEN": secrets.token_hex(32)},
        cwd=answer["directory"],
        is_persistent=is_left,
        timeout=LOOK,
    )


def command(path: str, answer: Mapping[str, Any], *, is_left: bool) -> Sequence[str]:
    """What starts a server in the directory that was found, on loopback alone.

    Old servers (2.0) tell of a port 0 as if they listened on it, so it is a free one that was
    found; where that is taken by then, a server takes the next.
    """
    words = [path, "--no-browser", "--ServerApp.ip=127.0.0.1"]
    words += [f"--ServerApp.port={answer['free']}", f"--ServerApp.root_dir={answer['directory']}"]
    if answer["is_root"]:
        words += ["--allow-root"]
    if is_left:
        words += [f"--ServerApp.shutdown_no_activity_timeout={IDLE}"]
    return words


async def _started(transport: Transport, there: HostServer, link: Link) -> Found:
    """The server that was started, once it tells of itself."""
    assert link.facts is not None
    pid = link.facts["pid"]
    answer = await _ask(transport, there, pid)
    for said in answer["servers"]:
        if said["pid"] == pid:
            return Found.of(said)
    exited = link.exited
    details = exited["stderr"] if exited is not None else ""
    raise trouble.ServerNotUp(host=there.destination.host, path=there.directory, details=details)
