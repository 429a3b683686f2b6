"""An attachment as the agent sees it: the counterpart of `sshpyk.link.streams`."""

from __future__ import annotations

from ..wire.attachment import Attachment
from ..wire.frames import ProtocolError
from ..wire.ports import reset, target_of
from ..wire.stream import WINDOW, Memory, Stream
from ..wire.zmtp import GREETING
from .connections import KernelConnection
from .ports import PortConnection, Unreached
from .spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Protocol, Set, Union

    from ..wire.control import Message
    from ..wire.stream import Store
    from .connections import CarrierConnection
    from .kernel import Address
    from .loop import Loop
    from .outputs import Outputs
    from .spool import Limits

    class Owner(Protocol):
        """What a client knows of the agent."""

        def request(self, client: Client, message: Message) -> None:
            """Do what a control message asks for. Raises `ProtocolError`."""

        def address(self, channel: str) -> Optional[Address]:
            """Where the kernel takes connections; None while there is none that does."""

        def kernel_doubted(self) -> None:
            """The kernel has closed a connection: it may have ended."""

        def kernel_missing(self) -> None:
            """Nothing listens where the kernel should."""


#: Seconds of silence after which a client counts as lost though its connection stands: it pings
#: every five.
LOST_AFTER = 15.0

#: Bytes that wait for a client of all its connections to ports, and of each at least.
PORTS_ROOM, PORT_ROOM = 64 * 1024 * 1024, 256 * 1024

#: Seconds between two tries to connect to a kernel that takes no connection, as while it is
#: stopped.
TRY_AGAIN = 0.2


class Client:
    """One attachment, and the kernel's side of its streams, or that of ports.

    `outputs` overhears its iopub; None where there is nothing to be heard.
    """

    def __init__(
        self, id: str, owner: Owner, loop: Loop, limits: Limits, outputs: Optional[Outputs]
    ) -> None:
        self.has_left = False
        self.rests = False  # whether it sends nothing, not even a ping, while nothing happens
        self.watches = False  # whether it wants to know of busy and idle
        self.is_seen = True  # whether anybody sees the output that it gets
        self.uses_kernel = False  # whether it opened one of the kernel's channels, not ports alone
        self.wants_urls = False  # and of the URLs that the kernel prints
        self.wants_memory = False  # and whether its memory is almost full
        self._owner = owner
        self._loop = loop
        self._limits = limits
        self._outputs = outputs
        self._kernels: Dict[Stream, Union[KernelConnection, PortConnection]] = {}
        self._full: Set[str] = set()  # the channels whose sockets took no more connections
        self._try_at: Optional[float] = None  # when to try them again
        self.attachment = Attachment(id, self, is_client=False, keep=self._make_store)
        self.attachment.heard_at = loop.now()

    def _make_store(self, channel: str) -> Store:
        # A port's program waits where a kernel goes on, so that this is never much.
        return Memory() if target_of(channel) is not None else Spool(self._limits)

    # -- carriers --------------------------------------------------------------------------------

    def join(self, connection: CarrierConnection, generation: int, oldest: int) -> bool:
        """A carrier has shown that it is this client's, who is done with the streams below
        `oldest`; returns whether it is the first of its generation.

        Raises `ProtocolError` where it is of an earlier generation.
        """
        attachment = self.attachment
        now = self._loop.now()
        if generation < attachment.generation:
            raise ProtocolError("a carrier of an earlier connection")
        is_new = generation > attachment.generation
        if is_new:
            attachment.generation = generation
            attachment.drop_carriers(now)
        attachment.forget_before(oldest, now)
        connection.owner, connection.attachment = self, attachment
        attachment.add(connection.carrier)
        self._loop.hurry()
        return is_new

    def carrier_ended(self, connection: CarrierConnection) -> None:
        """A carrier's connection is closed."""
        self.attachment.lose(connection.carrier, self._loop.now())
        self._loop.hurry()

    # -- what the attachment asks for: see `sshpyk.wire.attachment.Handler` ----------------------

    def deliver(self, stream: Stream, now: float) -> None:
        """A stream has changed: connect it, deliver what the kernel takes, and its end."""
        kernel = self._kernels.get(stream)
        if kernel is None:
            kernel = self._connect(stream, now)
        if kernel is not None:
            kernel.deliver(now)
            if stream.peer_closed:
                self.over(stream)

    def message(self, message: Message) -> None:
        """A control message has come."""
        self._owner.request(self, message)

    def over(self, stream: Stream) -> None:
        """A stream is over: close the kernel's side."""
        kernel = self._kernels.pop(stream, None)
        if kernel is not None:
            kernel.close()

    # -- the kernel ------------------------------------------------------------------------------

    def connect_all(self) -> None:
        """The kernel takes connections now: connect the streams that wait for that."""
        self._try_at = None
        self._full.clear()
        for stream in list(self.attachment.streams.values()):
            if stream is not self.attachment.control and stream not in self._kernels:
                self.attachment.deliver(stream, self._loop.now())

    def _connect(self, stream: Stream, now: float) -> Union[KernelConnection, PortConnection, None]:
        """Connect a stream to the kernel, if there is one to connect to by now."""
        if stream.is_closed:
            return None
        if stream.is_ending:
            # It closed before it was connected: ZMQ sends nothing before its peer has greeted, so
            # what came are greetings.
            while stream.peek():
                stream.consume(len(stream.peek()), now)
            return None
        if target_of(stream.channel) is not None:
            return self._connect_port(stream, now)
        self.uses_kernel = True
        address = self._owner.address(stream.channel)
        if address is None or stream.channel in self._full:
            return None
        outputs = self._outputs if stream.channel == "iopub" else None
        try:
            kernel = KernelConnection(self._loop, address, stream, self, outputs)
        except BlockingIOError:
            self._full.add(stream.channel)
            self._try_at = now + TRY_AGAIN
            return None
        except OSError:
            # Between its exit and our hearing of it; the stream waits for the next one.
            self._owner.kernel_missing()
            return None
        self._kernels[stream] = kernel
        return kernel

    # -- ports -----------------------------------------------------------------------------------

    def _connect_port(self, stream: Stream, now: float) -> Optional[PortConnection]:
        target = target_of(stream.channel)
        assert target is not None
        try:
            port = self._kernels[stream] = PortConnection(self._loop, target, stream, self)
        except Unreached as unreached:
            self.attachment.write(stream, reset(unreached.why, unreached.details), now)
            self.attachment.close(stream, now)
            return None
        return port

    def most_waiting(self, stream: Stream) -> int:
        """Bytes of a port's connection that may wait: what its path has use for, and no more than
        its share. Unlike a kernel a port is read no further: its program waits, as with TCP."""
        return min(stream.window + PORT_ROOM, max(PORT_ROOM, PORTS_ROOM // len(self._kernels)))

    def port_closed(self, stream: Stream) -> None:
        """A connection to a port is over; what it sent before still reaches the client."""
        port = self._kernels.pop(stream, None)
        if port is not None:
            port.close()
        self.attachment.close(stream, self._loop.now())

    # -- what connections tell -------------------------------------------------------------------

    def kernel_closed(self, stream: Stream) -> None:
        """The kernel closed its side; what it sent before still reaches the client."""
        self._kernels.pop(stream, None)
        self.attachment.close(stream, self._loop.now())
        self._owner.kernel_doubted()

    def kernel_missing(self, stream: Stream) -> None:
        """The kernel did not take a connection that waited for it."""
        self._kernels.pop(stream, None)
        self._owner.kernel_missing()

    # -- what the agent asks ---------------------------------------------------------------------

    def notify(self, type: str, **fields: Any) -> None:
        """Send a control message."""
        self.attachment.send_message(type, self._loop.now(), **fields)

    def tick(self, now: float) -> List[Optional[float]]:
        """Do what is due at `now`; when there will be more."""
        if self._try_at is not None and now >= self._try_at:
            self.connect_all()
        if self.rests and self.is_connected and not self._is_owed:
            self.attachment.heard_at = now  # for all that can be known
        for kernel in list(self._kernels.values()):
            kernel.limit_reading()
        return [self.attachment.tick(now), self._try_at]

    @property
    def is_connected(self) -> bool:
        """Whether it has a carrier."""
        return bool(self.attachment.carriers)

    @property
    def _is_owed(self) -> bool:
        """Whether it has yet to say that it has got something."""
        return any(stream.unacknowledged for stream in self.attachment.streams.values())

    def is_present(self, now: float) -> bool:
        """Whether it is connected, as far as can be known."""
        return self.is_connected and not self.has_left and now < self.lost_at

    @property
    def lost_at(self) -> float:
        """When it counts as lost though its connection stands, if nothing more is heard of it."""
        if self.rests and not self._is_owed:
            return float("inf")
        return self.attachment.heard_at + LOST_AFTER

    @property
    def listening(self) -> List[int]:
        """The streams on which it follows the kernel's iopub; a spare one has sent a greeting at
        most."""
        size = len(GREETING)
        streams = self._kernels
        return [s.id for s in streams if s.channel == "iopub" and s.position > size]

    @property
    def has_unread(self) -> bool:
        """Whether control messages are still on the way to the client."""
        control = self.attachment.control
        return bool(control.carriers) and control.unacknowledged > 0

    @property
    def is_behind(self) -> bool:
        """Whether the client is away, or takes less than the kernel gives."""
        streams = self.attachment.streams.values()
        return not self.is_connected or any(stream.unacknowledged > WINDOW for stream in streams)

    @property
    def may_read(self) -> bool:
        """Whether the kernel should be read for this client: not where there is no room to keep
        what it sends. A client that keeps up needs none, and goes on."""
        return not self._limits.full or not self.is_behind

    def close(self) -> None:
        """End everything that belongs to this client."""
        now = self._loop.now()
        self.attachment.discard_all(now)
        self.attachment.drop_carriers(now)
