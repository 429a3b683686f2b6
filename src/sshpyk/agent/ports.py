"""Connections to ports of the host, for the streams that lead to one: see `sshpyk.wire.ports`."""

from __future__ import annotations

import _socket
import errno
import os
import struct
from _socket import AF_UNIX, IPPROTO_TCP, SHUT_WR, SO_LINGER, SOL_SOCKET

from ..common.peers import listener_uid, owner_of
from ..wire import ports
from ..wire.frames import ProtocolError
from .kernel import connect
from .loop import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Protocol, Tuple

    from ..common.sockets import Socket
    from ..wire.attachment import Attachment
    from ..wire.ports import Target
    from ..wire.stream import Stream
    from .kernel import Address
    from .loop import Loop

    class StreamOwner(Protocol):
        """What a port's connection knows of its client: see `sshpyk.agent.client`."""

        attachment: Attachment

        def most_waiting(self, stream: Stream) -> int:
            """Bytes of the port's that may wait for the client."""

        def port_closed(self, stream: Stream) -> None:
            """The connection is over; what it sent before still reaches the client."""


#: What closes a connection with a reset, which tells its program that this is not its good end.
_RESET = struct.pack("ii", 1, 0)

#: The option that has Linux acknowledge at once; other systems have none.
_QUICKACK: int = getattr(_socket, "TCP_QUICKACK", 0)


class Unreached(Exception):
    """There is no connection: `why` is one of `ports.WHY`, `details` what the system says."""

    def __init__(self, why: str, details: str = "") -> None:
        super().__init__(why, details)
        self.why = why
        self.details = details


def reach(target: Target) -> Tuple[Socket, bool]:
    """A socket for `target` and whether it is connected, as `kernel.connect` has it.

    Raises `Unreached`.
    """
    at = target.address
    addresses: List[Address] = [at] if isinstance(at, str) else [("127.0.0.1", at), ("::1", at)]
    problem: Optional[OSError] = None
    for address in addresses:
        try:
            sock, is_connected = connect(address)
        except OSError as error:
            if problem is None or problem.errno == errno.ECONNREFUSED:
                problem = error
            continue
        if not target.is_anyones:
            # Nothing was said yet: whoever it is has seen that somebody connects.
            uid = listener_uid(sock) if isinstance(address, str) else owner_of(address)
            if uid != os.getuid():
                sock.close()
                raise Unreached(ports.UNKNOWN if uid is None else ports.STRANGER)
        return sock, is_connected
    assert problem is not None
    if problem.errno in (errno.ECONNREFUSED, errno.ENOENT):
        raise Unreached(ports.NOBODY)
    raise Unreached(ports.FAILED, os.strerror(problem.errno or 0))


class PortConnection(Connection):
    """The host's side of one connection to a port. Raises `Unreached`."""

    def __init__(self, loop: Loop, target: Target, stream: Stream, owner: StreamOwner) -> None:
        self._stream = stream
        self._owner = owner
        self._incoming = ports.Incoming(stream)
        self._has_shut = False  # the client's direction has ended, and the program knows
        self._has_ended = False  # the program's direction has
        sock, is_connected = reach(target)
        super().__init__(loop, sock, is_connected=is_connected)

    def deliver(self, now: float) -> None:
        """Give the program what has arrived for it, and what has ended."""
        incoming = self._incoming
        try:
            while not self.is_blocked and not self.is_closed:
                piece = incoming.peek(now)
                if not piece:
                    break
                sent = self.offer(piece)
                if sent:
                    incoming.consume(sent, now)
        except ProtocolError as error:
            self._give_up(ports.BROKEN, str(error))
        if self.is_closed:
            return
        if incoming.reset is not None:
            self._owner.port_closed(self._stream)
        elif incoming.has_ended and not self._has_shut and not self.is_connecting:
            self._has_shut = True
            try:
                self.socket.shutdown(SHUT_WR)
            except OSError:
                pass  # the program is gone: reading will tell
            self._close_if_over()
        self.limit_reading()

    def limit_reading(self) -> None:
        """Read the program as long as what waits for the client is not too much."""
        if not self.is_closed:
            most = self._owner.most_waiting(self._stream)
            self.read(not self._has_ended and self._stream.unacknowledged < most)

    def on_writable(self) -> None:
        self._owner.attachment.deliver(self._stream, self.loop.now())

    def on_read(self, view: memoryview) -> None:
        if _QUICKACK and self.socket.family != AF_UNIX:
            # Programs that write an answer in small pieces wait for our acknowledgement of the
            # first (Nagle's algorithm), which Linux delays by 40 ms, and forgets not to.
            self.socket.setsockopt(IPPROTO_TCP, _QUICKACK, 1)
        self._write(ports.record(ports.BYTES, view))
        self.limit_reading()

    def on_end(self) -> None:
        self._has_ended = True
        self._write(ports.record(ports.END))
        self.limit_reading()
        self._close_if_over()

    def _write(self, record: bytes) -> None:
        self._owner.attachment.write(self._stream, record, self.loop.now())

    def _close_if_over(self) -> None:
        if self._has_shut and self._has_ended:
            self._owner.port_closed(self._stream)

    def close(self) -> None:
        """Close; with a reset where one direction has not come to its end."""
        if not self.is_closed and not (self._has_shut and self._has_ended):
            self.socket.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
        super().close()

    def on_closed(self) -> None:
        if self.is_connecting:
            self._give_up(ports.FAILED, "it takes no connections")
        else:
            self._give_up(ports.BROKEN)

    def _give_up(self, why: str, details: str = "") -> None:
        self._write(ports.reset(why, details))
        self._owner.port_closed(self._stream)
