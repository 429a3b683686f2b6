"""An attachment as the agent sees it: the counterpart of `sshpyk.link.streams`."""

from __future__ import annotations

from ..wire import control
from ..wire.carrier import Attachment
from ..wire.channels import AGENT, CHANNELS
from ..wire.control import MessageReader
from ..wire.frames import ProtocolError
from ..wire.stream import WINDOW, Stream
from .connections import CarrierConnection, KernelConnection
from .spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Set

    from .serve import Agent

#: Seconds of silence after which a client counts as lost though its connection stands: it pings
#: every five.
LOST_AFTER = 15.0


class Client:
    """One attachment: its carriers, and the kernel's side of its streams."""

    def __init__(self, agent: Agent, id: str) -> None:
        self.agent = agent
        self.attachment = Attachment(id, keep=lambda: Spool(agent.limits))
        self.carriers: Set[CarrierConnection] = set()
        self.kernels: Dict[Stream, KernelConnection] = {}
        self.silent_since: Optional[float] = None
        self.has_left = False
        self.heard = agent.loop.now()
        self.watches = False  # whether it wants to know of busy and idle
        self._messages = MessageReader()
        self._control: Optional[Stream] = None

    def take(self, carrier: CarrierConnection, oldest: int) -> None:
        """A carrier has shown that it is this client's, who is done with what is below `oldest`."""
        carrier.client = self
        carrier.generation = self.attachment.generation
        carrier.carrier.attachment = self.attachment
        self.carriers.add(carrier)
        self.silent_since = None
        self.forget_before(oldest)

    def attend(self, stream: Stream, now: float) -> None:
        """A stream has changed: deliver, connect, close, send."""
        if stream.channel == AGENT:
            if self._control is None:
                self._control = stream
                self._tell_what_happened()
            self._read_requests(stream, now)
        elif stream.channel not in CHANNELS:
            self._discard(stream)
            raise ProtocolError("a stream of an unknown channel")
        else:
            self.connect(stream)
            kernel = self.kernels.get(stream)
            if kernel is not None:
                kernel.flush(now)
                if stream.peer_closed:
                    kernel.close()
                    self.kernels.pop(stream, None)
        self.pump(stream, now)

    def connect(self, stream: Stream) -> None:
        """Connect a stream to the kernel, if there is one to connect to by now."""
        kernel = self.agent.kernel
        if stream in self.kernels or stream.is_closed:
            return
        if stream.is_ending:
            # It closed before it was connected: ZMQ sends nothing before its peer has greeted, so
            # what came are greetings.
            while stream.peek():
                stream.consume(len(stream.peek()), self.agent.loop.now())
            return
        if not kernel.bound:
            return
        try:
            address = kernel.plan.addresses[stream.channel]
            self.kernels[stream] = KernelConnection(self, stream, address)
        except OSError:
            # Between its exit and our hearing of it; the stream waits for the next one.
            kernel.bound = False

    def pump(self, stream: Stream, now: float) -> None:
        """Send what the stream has to send on the carriers it has."""
        for carrier in list(self.carriers):
            if carrier.carrier in stream.carriers:
                carrier.pump(now)

    def kernel_closed(self, stream: Stream) -> None:
        """The kernel closed its side; what it said before still reaches the client."""
        self.kernels.pop(stream, None)
        self.pump(stream, self.agent.loop.now())

    def discard_done(self) -> None:
        """Let go of the streams that are over."""
        for stream in [s for s in self.attachment.streams.values() if s.done]:
            self._discard(stream)

    def forget_before(self, oldest: int) -> None:
        """The client is done with the streams below `oldest`."""
        for stream in self.attachment.forget_before(oldest):
            self._discard(stream)

    def _discard(self, stream: Stream) -> None:
        carriers = stream.carriers[:]
        self.attachment.discard(stream)
        kernel = self.kernels.pop(stream, None)
        if kernel is not None:
            kernel.close()
        for connection in [c for c in self.carriers if c.carrier in carriers]:
            if not connection.carrier.streams and not connection.is_blocked:
                connection.send(connection.carrier.drain(self.agent.loop.now(), 0))
                # What it could not take at once waits; then the client closes it.
                if not connection.is_blocked:
                    self.carriers.discard(connection)
                    connection.close()

    def notify(self, type: str, **fields: Any) -> None:
        """Send a control message."""
        if self._control is not None:
            self._control.write(control.encode(type, **fields))
            self.pump(self._control, self.agent.loop.now())

    def is_present(self, now: float) -> bool:
        """Whether it is connected, as far as can be known."""
        return bool(self.carriers) and not self.has_left and now < self.heard + LOST_AFTER

    def _tell_what_happened(self) -> None:
        """A kernel may be quicker than its client: bound, or dead, before this one was there."""
        kernel = self.agent.kernel
        if kernel.exited is not None:
            self.notify("exited", **kernel.exited)
        elif kernel.bound:
            self.notify("bound", pid=kernel.pid)

    @property
    def has_unread(self) -> bool:
        """Whether control messages are still on the way to the client."""
        control = self._control
        return control is not None and bool(control.carriers) and control.unacknowledged > 0

    @property
    def is_behind(self) -> bool:
        """Whether the client is away, or takes less than the kernel gives."""
        streams = self.attachment.streams.values()
        return not self.carriers or any(stream.unacknowledged > WINDOW for stream in streams)

    @property
    def may_read(self) -> bool:
        """Whether the kernel should be read for this client: not where there is no room to keep
        what it says. Whoever keeps up needs none, and goes on."""
        return not self.agent.limits.full or not self.is_behind

    def close(self) -> None:
        """End everything that belongs to this client."""
        for stream in list(self.attachment.streams.values()):
            self._discard(stream)
        for carrier in list(self.carriers):
            carrier.close()
        self.carriers.clear()

    def _read_requests(self, stream: Stream, now: float) -> None:
        while True:
            data = stream.peek()
            if not data:
                break
            stream.consume(len(data), now)
            for message in self._messages.feed(data):
                self.agent.handle(self, message)
