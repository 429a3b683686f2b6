"""The agent's two kinds of connection: a carrier from the client, and one to the kernel."""

from __future__ import annotations

from ..wire.carrier import Carrier
from ..wire.frames import HELLO, REFUSED, Frame, ProtocolError
from .kernel import connect
from .loop import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Protocol, Sequence

    from ..common.sockets import Socket
    from ..wire.attachment import Attachment
    from ..wire.frames import Data
    from ..wire.stream import Stream
    from ..wire.zmtp import Reader
    from .kernel import Address
    from .loop import Loop
    from .outputs import Outputs

    class Greeter(Protocol):
        """Who lets carriers in: see `sshpyk.agent.door`."""

        def greet(self, connection: CarrierConnection, hello: bytes) -> None:
            """Set the connection's `attachment` and `owner`, or raise `ProtocolError`."""

        def refused(self, connection: CarrierConnection, why: str) -> None:
            """It is about to be closed for what came on it."""

    class CarrierOwner(Protocol):
        """Who is told of a carrier's end."""

        def carrier_ended(self, connection: CarrierConnection) -> None:
            """Its connection is closed."""

    class StreamOwner(Protocol):
        """What the kernel's side of a stream knows of its client: see `sshpyk.agent.client`."""

        attachment: Attachment

        @property
        def may_read(self) -> bool:
            """Whether the kernel should be read for this client."""

        def kernel_closed(self, stream: Stream) -> None:
            """The kernel has closed its side of the stream."""

        def kernel_missing(self, stream: Stream) -> None:
            """The kernel did not take the stream's connection after all."""


#: Bytes given to a carrier before the others have their turn.
TURN = 256 * 1024

#: Seconds that a new connection has for its hello.
HELLO_WITHIN = 10.0


class CarrierConnection(Connection):
    """A connection from the client; nobody's until its hello has shown the token."""

    def __init__(self, loop: Loop, sock: Socket, greeter: Greeter, owner: CarrierOwner) -> None:
        self.carrier = Carrier(self, TURN)
        self.attachment: Optional[Attachment] = None
        self.owner = owner
        self.expires = loop.now() + HELLO_WITHIN
        self._greeter = greeter
        super().__init__(loop, sock)

    def on_data(self, data: bytes) -> None:
        try:
            frames = self.carrier.feed(data)
            if self.attachment is None and frames:
                hello = frames.pop(0)
                if hello.type != HELLO:
                    raise ProtocolError(f"{hello!r} before HELLO")
                self._greeter.greet(self, bytes(hello.payload))
            if self.attachment is not None:
                self.attachment.receive(self.carrier, frames, self.loop.now())
        except ProtocolError as error:
            self.refuse(str(error))

    def send(self, parts: Sequence[Data]) -> bool:
        """Send `parts`; False also where the others are to have their turn before there is more."""
        super().send(parts)
        if sum(map(len, parts)) >= TURN:
            self.wait_for_room()
        return not self.is_closed and not self.is_blocked

    def on_writable(self) -> None:
        if self.attachment is not None:
            self.attachment.make_room(self.carrier, self.loop.now())

    def refuse(self, why: str) -> None:
        """Say why not, and close."""
        self._greeter.refused(self, why)
        if not self.is_blocked and not self.is_closed:
            self.send([Frame(REFUSED, payload=why.encode("utf-8")[:1024]).encode()])
        self.close()
        self.on_closed()

    def abort(self) -> None:
        """End it at once; `close` does no less, because the attachment calls that only when
        everything was sent."""
        self.close()

    def on_closed(self) -> None:
        self.owner.carrier_ended(self)


class KernelConnection(Connection):
    """The kernel's side of one stream: a connection to one of its sockets.

    `outputs` overhears iopub. Raises BlockingIOError where the kernel takes no connection now, and
    another OSError where it is not there.
    """

    def __init__(
        self,
        loop: Loop,
        address: Address,
        stream: Stream,
        owner: StreamOwner,
        outputs: Optional[Outputs],
    ) -> None:
        self._stream = stream
        self._owner = owner
        sock, is_connected = connect(address)
        self._outputs = outputs
        self._reader: Optional[Reader] = outputs.follow() if outputs is not None else None
        super().__init__(loop, sock, is_connected=is_connected)

    def deliver(self, now: float) -> None:
        """Give the kernel what has arrived for it."""
        stream = self._stream
        while not self.is_blocked and not self.is_closed:
            piece = stream.peek()
            if not piece:
                break
            sent = self.offer(piece)
            if sent:
                stream.consume(sent, now)
        self.limit_reading()

    def limit_reading(self) -> None:
        """Read the kernel where what it sends can be kept."""
        self.read(self._owner.may_read)

    def on_writable(self) -> None:
        self._owner.attachment.deliver(self._stream, self.loop.now())

    def on_data(self, data: bytes) -> None:
        self._owner.attachment.write(self._stream, data, self.loop.now())
        if not self._owner.may_read:
            self.read(False)
            self.loop.hurry()
        if self._reader is not None and self._outputs is not None:
            self._outputs.overhear(self._reader, data)

    def close(self) -> None:
        if self._reader is None or self._outputs is None or self.is_closed:
            super().close()
        else:
            self._outputs.adopt(self._reader, self.detach(), is_connected=not self.is_connecting)

    def on_closed(self) -> None:
        if self._reader is not None and self._outputs is not None:
            self._outputs.lost(self._reader)
        if self.is_connecting:
            self._owner.kernel_missing(self._stream)
        else:
            self._owner.kernel_closed(self._stream)
