"""Local ports that lead to ports of a kernel's host, through the streams of its link.

A port that is open costs nothing until somebody connects: each connection is a stream of its own,
which lives through outages as all do. What travels in it is described in `sshpyk.wire.ports`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from ..remotekernel import OpenPort
from ..wire import ports as wire
from ..wire.frames import ProtocolError
from ..wire.ports import Target
from . import portlist
from .listener import Listener
from .protocols import TURN, Accepted

if TYPE_CHECKING:
    from ..wire.stream import Stream
    from .log import KernelLog
    from .protocols import LocalOwner

#: Ports of one kernel that are opened because it has printed them.
MOST_PRINTED = 16

#: Ports below it are the system's.
FIRST_FREE = 1024

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send a reset


def bind(local: int | str) -> socket.socket:
    """A socket that listens at a port of loopback, 0 for any, or at a path. Raises OSError."""
    if isinstance(local, str):
        sock = socket.socket(socket.AF_UNIX)
        address: tuple[str, int] | str = local
    else:
        sock = socket.socket(socket.AF_INET)
        # A port is free as soon as nobody listens there, though old connections fade away. On
        # macOS that would also take a port which another has on all addresses.
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = ("127.0.0.1", local)
    try:
        sock.bind(address)
        if isinstance(local, str):
            os.chmod(local, 0o600)  # nobody listens yet
        sock.listen()  # which fails where somebody was bound there, and is faster
    except BaseException:
        sock.close()
        raise
    return sock


def bind_near(local: int) -> socket.socket:
    """The same for this port, or another where it is taken. Raises OSError."""
    try:
        return bind(local)
    except OSError:
        return bind(0)


class LocalPort:
    """A port of this machine, or a unix socket, that leads to `target`; listens from the beginning.

    `local` is where: a port of 127.0.0.1, or a path. `trouble` is why the last connection found
    nothing there, None once one did. `url` is what the kernel has printed, where that is why the
    port is open, with the local port in it.
    """

    def __init__(self, ports: Ports, sock: socket.socket, target: Target, url: str = "") -> None:
        name = sock.getsockname()
        self.local: int | str = name if isinstance(name, str) else name[1]
        self.target = target
        self.url = url
        self.trouble: errors.SshpykError | None = None
        self.connections: set[PortProtocol] = set()
        self.ports = ports
        self._listener = Listener(sock, lambda: PortProtocol(self, ports.owner), ports.log)

    def end(self) -> None:
        """Close it, and all connections to it."""
        self.ports.close(self)

    def close(self) -> None:
        """Listen no more, and end all connections; for `Ports`, which then forgets it."""
        self._listener.close()
        if isinstance(self.local, str):
            with contextlib.suppress(OSError):
                os.unlink(self.local)
        for connection in list(self.connections):
            connection.close()

    @property
    def status(self) -> OpenPort:
        """What is told of it."""
        return OpenPort(str(self.target.address), self.local, self.url, self.trouble)

    def to_json(self) -> dict[str, Any]:
        """What `sshpyk port --list` tells of it."""
        ports = self.ports
        own = {"kernel": ports.id, "host": ports.host, "connections": len(self.connections)}
        return {**self.status.to_json(), **own, "pid": os.getpid()}


class Ports:
    """The open ports of one link: to the agent `id` on `host`. `changed` is called when there is
    something new.

    All methods belong to the I/O thread.
    """

    def __init__(
        self, id: str, host: str, owner: LocalOwner, log: KernelLog, changed: Callable[[], None]
    ) -> None:
        self.id = id
        self.host = host
        self.owner = owner
        self.log = log
        self.open_ports: list[LocalPort] = []
        self._changed = changed

    def open(self, target: Target, local: int | str | None = None, *, url: str = "") -> LocalPort:
        """Open a local port that leads to `target`.

        `local` is where: a port, 0 for any that is free, or the path of a unix socket; None is the
        same port as there, where that is free, else any. Raises `PortInUse`, or `PortRefused`.
        """
        if local is None:
            wanted = target.address if isinstance(target.address, int) else 0
            sock = bind_near(wanted)
        else:
            try:
                sock = bind(local)
            except OSError as error:
                raise in_use(local, error) from None
        port = LocalPort(self, sock, target)
        if url:
            port.url = local_url(url, port.local)
        self.open_ports.append(port)
        portlist.add(port, self.log)
        self.log.info("= %s leads to %s of %s", shown(port.local), target.address, self.host)
        self._changed()
        return port

    def open_printed(self, url: str) -> None:
        """Open the port of a URL that a kernel has printed, unless it is open. Raises OSError."""
        number = wire.port_of(url)
        target = Target(number)
        printed = [port for port in self.open_ports if port.url]
        is_open = any(port.target.address == target.address for port in printed)
        if not is_open and len(printed) < MOST_PRINTED:
            # What a host chooses gets no number here that belongs to the system.
            port = self.open(target, None if number >= FIRST_FREE else 0, url=url)
            self.log.info("= %s of %s is %s here", url, self.host, port.url)

    def close_printed(self) -> None:
        """The kernel has ended, and what it served with it."""
        for port in [port for port in self.open_ports if port.url]:
            self.close(port)

    def close(self, port: LocalPort) -> None:
        """Close a port and all connections to it."""
        if port in self.open_ports:
            self.open_ports.remove(port)
            portlist.remove(port)
            port.close()
            self.log.info("= %s is closed", shown(port.local))
            self._changed()

    def close_all(self) -> None:
        """Close all of them: the link ends."""
        for port in list(self.open_ports):
            self.close(port)

    def note(self, port: LocalPort, trouble: errors.SshpykError | None) -> None:
        """A connection has found something there, or has not."""
        if type(trouble) is not type(port.trouble):
            port.trouble = trouble
            if trouble is not None:
                self.log.warning("! %s", trouble.line)
            self._changed()


def shown(local: int | str) -> str:
    """A local port for people."""
    return local if isinstance(local, str) else f"localhost:{local}"


def local_url(url: str, local: int | str) -> str:
    """The URL that a kernel printed, with the local port in place of its own."""
    scheme, _, rest = url.partition("://")
    end = next((n for n, char in enumerate(rest) if char in "/?#"), len(rest))
    return f"{scheme}://{shown(local)}{rest[end:]}"


def in_use(local: int | str, error: OSError) -> errors.SshpykError:
    """The error for a local port that can't be had: it is taken, or not a user's to have."""
    free = 0
    if isinstance(local, int):
        with contextlib.suppress(OSError), bind(0) as sock:
            free = sock.getsockname()[1]
    reason = error.strerror or str(error)
    kind = errors.PortInUse if free else errors.NoLocalSocket
    return kind(local=shown(local), reason=reason, free=free)


def trouble_of(host: str, target: Target, why: str, details: str) -> errors.SshpykError | None:
    """The error for a connection that is over for the reason `why`; None where it had begun."""
    kinds: dict[str, type[errors.SshpykError]] = {
        wire.NOBODY: errors.NobodyListens,
        wire.STRANGER: errors.NotYourPort,
        wire.UNKNOWN: errors.NobodysPort,
        wire.FAILED: errors.PortUnreached,
    }
    if why == wire.BROKEN:
        return None
    return kinds[why](host=host, port=str(target.address), reason=details)


class PortProtocol(Accepted):
    """A connection that a program here made to a local port: the end of a stream.

    The same to its owner as `protocols.LocalProtocol`.
    """

    pacer = None

    def __init__(self, port: LocalPort, owner: LocalOwner) -> None:
        super().__init__(port.ports.log)
        self.channel = port.target.channel
        self.stream: Stream | None = None
        self._port = port
        self._owner = owner
        self._incoming: wire.Incoming | None = None
        self._has_ended = False  # the program's direction has
        self._has_shut = False  # the other has, and the program knows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._refuse_stranger(transport, shown(self._port.local)):
            return
        self.stream = self._owner.local_opened(self)
        if self.stream is None:
            transport.abort()
            return
        self._port.connections.add(self)
        self._incoming = wire.Incoming(self.stream)
        transport.set_write_buffer_limits(high=TURN)
        self._transport = transport

    # -- from the program ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._write(wire.record(wire.BYTES, data))
        self.limit_reading()

    def eof_received(self) -> bool:
        if self.stream is None:
            return False
        self._has_ended = True
        self._write(wire.record(wire.END))
        self._close_if_over()
        return True  # it may still want to read

    def _write(self, record: bytes) -> None:
        if self.stream is not None:
            self._owner.local_wrote(self.stream, record)

    def limit_reading(self) -> None:
        """Read from the program as long as what waits for the link is not too much."""
        if self.stream is not None and not self._has_ended:
            self._read(self.stream.unacknowledged <= self.stream.window + TURN)

    def hold(self, held: bool) -> None:
        """Only a kernel's control channel is held."""

    # -- to the program --------------------------------------------------------------------------

    def deliver(self, now: float) -> None:
        """Give the program what has arrived for it, and what has ended."""
        incoming, transport = self._incoming, self._transport
        if incoming is None or transport is None:
            return
        try:
            while not (self._is_paused or transport.is_closing()) and (piece := incoming.peek(now)):
                transport.write(piece)
                incoming.consume(len(piece), now)
                self._port.ports.note(self._port, None)
        except ProtocolError as error:
            self._log.warning("! a connection to a port ended: %s", error)
            self.close()
            return
        if incoming.reset is not None:
            ports = self._port.ports
            trouble = trouble_of(ports.host, self._port.target, *incoming.reset)
            if trouble is not None:
                ports.note(self._port, trouble)
            self.close()
        elif incoming.has_ended and not self._has_shut:
            self._has_shut = True
            with contextlib.suppress(OSError):  # reset in this moment: `connection_lost` follows
                transport.write_eof()
            self._close_if_over()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self.stream is not None:
            self._owner.local_has_room(self.stream)

    # -- the end ---------------------------------------------------------------------------------

    def _close_if_over(self) -> None:
        if self._has_ended and self._has_shut:
            self.close()

    def close(self) -> None:
        """End it: with a reset where one direction has not come to its end, so that the program
        does not take that for the end."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._has_ended and self._has_shut:
            transport.close()
        else:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        self._owner.local_closed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._port.connections.discard(self)
        self._owner.local_closed(self)
