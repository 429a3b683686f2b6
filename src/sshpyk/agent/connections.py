"""The agent's two kinds of connection: a carrier from the client, and one to the kernel."""

from __future__ import annotations

from ..wire.carrier import Carrier
from ..wire.frames import HELLO, REFUSED, Frame, ProtocolError
from ..wire.stream import Stream
from ..wire.zmtp import Subscriber
from .kernel import connect
from .loop import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from ..common.sockets import Socket
    from .client import Client
    from .kernel import Address
    from .serve import Agent

#: Bytes given to a carrier before the others have their turn.
TURN = 256 * 1024

#: Seconds that a new connection has for its hello.
HELLO_WITHIN = 10.0


class CarrierConnection(Connection):
    """A connection from the client; nobody's until its hello has shown the token."""

    def __init__(self, agent: Agent, sock: Socket) -> None:
        self.agent = agent
        self.carrier = Carrier()
        self.client: Optional[Client] = None
        self.generation = 0
        self.expires = agent.loop.now() + HELLO_WITHIN
        super().__init__(agent.loop, sock)

    def on_data(self, data: bytes) -> None:
        now = self.loop.now()
        if self.client is not None:
            self.client.heard = now
        try:
            for event in self.carrier.receive(data, now):
                if isinstance(event, Stream):
                    if self.client is not None:
                        self.client.attend(event, now)
                elif event.type == HELLO:
                    self.agent.door.greet(self, event.payload)
        except ProtocolError as error:
            self.agent.log.line(f"! carrier ended: {error}")
            self.refuse(str(error))
            return
        self.pump(now)

    def pump(self, now: float) -> None:
        """Send what there is to send, as far as the socket takes it."""
        if not self.is_blocked and not self.is_closed:
            parts = self.carrier.drain(now, TURN)
            if parts:
                self.send(parts)
            if sum(map(len, parts)) >= TURN:
                self.wait_for_room()  # there may be more

    def on_writable(self) -> None:
        self.pump(self.loop.now())

    def refuse(self, why: str) -> None:
        """Say why not, and close."""
        if not self.is_blocked and not self.is_closed:
            self.send([Frame(REFUSED, payload=why.encode("utf-8")[:1024]).encode()])
        self.close()
        self.on_closed()

    def on_closed(self) -> None:
        self.agent.carrier_closed(self)


class KernelConnection(Connection):
    """The agent's end of one stream: a connection to one of the kernel's sockets.

    Raises OSError where the kernel is not there to connect to.
    """

    def __init__(self, client: Client, stream: Stream, address: Address) -> None:
        self.client = client
        self.stream = stream
        self._outputs = client.agent.outputs
        # With CURVE there is nothing to be heard.
        is_heard = stream.channel == "iopub" and not client.agent.kernel.plan.curve
        self._subscriber = Subscriber() if is_heard else None
        super().__init__(client.agent.loop, connect(address))

    def flush(self, now: float) -> None:
        """Give the kernel what has arrived for it."""
        while not self.is_blocked and not self.is_closed:
            piece = self.stream.peek()
            if not piece:
                break
            sent = self.offer(piece)
            if sent:
                self.stream.consume(sent, now)
        self.read(self.client.may_read)

    def on_writable(self) -> None:
        self.client.attend(self.stream, self.loop.now())

    def on_data(self, data: bytes) -> None:
        self.stream.write(data)
        self.client.pump(self.stream, self.loop.now())
        if not self.client.may_read:
            self.read(False)
            self.loop.hurry()
        if self._subscriber is not None and not self._outputs.overhear(self._subscriber, data):
            self._subscriber = None

    def close(self) -> None:
        if self._subscriber is not None and not self.is_closed:
            self._outputs.adopt(self._subscriber, self.detach())
        super().close()

    def on_closed(self) -> None:
        if self._subscriber is not None:
            self._outputs.lost(self._subscriber)
        self.stream.close()
        self.client.kernel_closed(self.stream)
