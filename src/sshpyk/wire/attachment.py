"""An attachment: all streams of one client, the carriers they have, and the control messages.

The client and the agent use this very class under drivers that own the sockets, asyncio on the
client and a small loop on the host. A driver gives it what comes in (`receive`, `write`,
`make_room`, the time), and gets calls of its `Handler` and of the carriers' connections.
"""

from __future__ import annotations

from heapq import heappop, heappush

from .carrier import Carrier
from .channels import AGENT, CHANNELS
from .control import MessageReader, encode
from .frames import ACK, CLOSE, DATA, GONE, OPEN, PING, PONG, REFUSED, Frame, ProtocolError, Refused
from .ids import Ids
from .ports import target_of
from .stream import Memory, Stream
from .window import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Protocol

    from .control import Message
    from .stream import Store

    class Handler(Protocol):
        """What a driver does for an attachment."""

        def deliver(self, stream: Stream, now: float) -> None:
            """Bytes have come, or room to write, or the peer's end: give the stream's local side
            what it takes of `stream.peek()`, and end it where `stream.peer_closed`."""

        def message(self, message: Message) -> None:
            """A control message has come. Raises `ProtocolError` where its sender may not send
            it."""

        def over(self, stream: Stream) -> None:
            """The stream is over and forgotten: close what it was joined to."""


#: The channels whose streams share nothing with others.
_OWN_WINDOWS = (*CHANNELS, AGENT)

#: The id of the control stream.
CONTROL = 0

#: Streams that one attachment may have open: a client has five a kernel, and a few for each
#: notebook that shows it; more than this is no client of ours.
MAX_STREAMS = 4096


class Attachment:
    """One end of all the streams between one client and one agent.

    `control` is the stream of control messages, there from the beginning; the other streams are
    opened by the client. `carriers` are the connections that were proved to be the peer's.
    `generation` counts how often the client has connected anew: the agent ends the carriers of
    earlier generations, which sshd may keep half open for a long time. `heard_at` is when
    anything came last. `keep` makes the store of unacknowledged bytes of a new stream of a channel.
    """

    def __init__(
        self,
        id: str,
        handler: Handler,
        *,
        is_client: bool,
        keep: Callable[[str], Store] = lambda channel: Memory(),
    ) -> None:
        self.id = id
        self.generation = 0
        self.heard_at = float("-inf")
        self.streams: Dict[int, Stream] = {}
        self.carriers: List[Carrier] = []
        self._handler = handler
        self._is_client = is_client
        self._keep = keep
        self._path = Path()  # what ports know of it: of those there are many at once
        self._messages = MessageReader()
        # The client's: the next id that was never used, and those that the agent never heard of.
        self._next = CONTROL + 1
        self._unused: List[int] = []
        # The agent's: below `_floor` all streams are over, above it those in `_over`.
        self._floor = CONTROL + 1
        self._over = Ids()
        self.control = self._make(CONTROL, AGENT)

    def _make(self, id: int, channel: str) -> Stream:
        path = None if channel in _OWN_WINDOWS else self._path
        stream = self.streams[id] = Stream(id, channel, self._keep(channel), path)
        return stream

    # -- what the local side does ----------------------------------------------------------------

    def open(self, channel: str) -> Stream:
        """A new stream; only the client opens them."""
        if self._unused:
            return self._make(heappop(self._unused), channel)
        self._next += 1
        return self._make(self._next - 1, channel)

    def write(self, stream: Stream, data: bytes, now: float) -> None:
        """Send `data` on `stream`, now or whenever it has a carrier."""
        stream.write(data)
        self._pump_stream(stream, now)

    def send_message(self, type: str, now: float, **fields: Any) -> None:
        """Send a control message, now or whenever the control stream has a carrier."""
        self.write(self.control, encode(type, **fields), now)

    def close(self, stream: Stream, now: float) -> None:
        """The local side of `stream` has closed: what it wrote is still sent, and then the end."""
        stream.close()
        if self._is_client and not stream.was_announced:
            # The agent has never heard of it, so the kernel never greeted it, and ZMQ sends no
            # message before: nothing is lost. A heartbeat that gives up every second while the
            # link is away costs nothing, not even an id.
            self._discard(stream, now)
        else:
            self._pump_stream(stream, now)

    def deliver(self, stream: Stream, now: float) -> None:
        """Have the handler deliver what waits, because there is room for it again."""
        self._deliver(stream, now)
        self._pump_stream(stream, now)

    # -- carriers --------------------------------------------------------------------------------

    def add(self, carrier: Carrier, streams: Iterable[Stream] = ()) -> None:
        """`carrier` is this attachment's. The client names the streams that it is to carry."""
        if carrier not in self.carriers:
            self.carriers.append(carrier)
        for stream in streams:
            carrier.announce(stream)

    def lose(self, carrier: Carrier, now: float) -> List[Stream]:
        """The connection of `carrier` is gone. Returns the streams that may want another."""
        streams = self._lose(carrier, now)
        for stream in streams:
            self._pump_stream(stream, now)  # to others that it has, again
        return [stream for stream in streams if self.streams.get(stream.id) is stream]

    def _lose(self, carrier: Carrier, now: float) -> List[Stream]:
        if carrier not in self.carriers:
            return []
        self.carriers.remove(carrier)
        streams = carrier.lose()
        self._discard_done(streams, now)
        return streams

    def drop_carriers(self, now: float) -> None:
        """End all carriers at once, as a new generation does."""
        for carrier in self.carriers[:]:
            carrier.connection.abort()
            self._lose(carrier, now)

    def make_room(self, carrier: Carrier, now: float) -> None:
        """The connection of `carrier` takes more again."""
        carrier.has_room = True
        self.pump(carrier, now)

    def pump(self, carrier: Carrier, now: float) -> None:
        """Send what there is to send, as far as the connection takes it; then let go of the
        streams that are over, and of a carrier that carries nothing more."""
        while carrier.has_room:
            parts = carrier.drain(now, carrier.turn)
            if not parts:
                break
            carrier.has_room = carrier.connection.send(parts)
            if sum(map(len, parts)) < carrier.turn:
                break  # that was all
        self._discard_done(carrier.streams, now)
        if carrier.is_spent and carrier.has_room and carrier in self.carriers:
            self.carriers.remove(carrier)
            carrier.connection.close()

    def _pump_stream(self, stream: Stream, now: float) -> None:
        for carrier in self.carriers[:]:
            if not stream.has_frame(now):
                break  # with six carriers, asking each of them took most of a receiver's time
            if stream in carrier.streams:
                self.pump(carrier, now)
        if stream.done:
            self._discard(stream, now)

    def ping(self, now: float) -> None:
        """Ask for a sign of life where the control stream has a carrier."""
        for carrier in self.carriers[:]:
            if self.control in carrier.streams:
                carrier.send(Frame(PING))
                self.pump(carrier, now)

    # -- what comes in ---------------------------------------------------------------------------

    def receive(self, carrier: Carrier, frames: List[Frame], now: float) -> None:
        """Take the frames that came on `carrier`; HELLO and WELCOME are the driver's to answer.

        Raises `ProtocolError` where no peer of ours sends that, and `Refused` where the agent has
        ended the carrier: end it here as well.
        """
        self.heard_at = now
        changed: List[Stream] = []
        try:
            for frame in frames:
                type = frame.type
                if type in (DATA, ACK, CLOSE):
                    stream = self.streams.get(frame.stream)
                    # Where it is over, every carrier that had it was told so.
                    if stream is not None:
                        stream.receive(frame, now)
                else:
                    stream = self._receive_other(carrier, frame, now)
                if stream is not None and stream not in changed:
                    changed.append(stream)
        finally:
            for stream in changed:
                self._deliver(stream, now)
                if stream.carriers > 1 or stream not in carrier.streams:
                    self._pump_stream(stream, now)
            self.pump(carrier, now)

    def _receive_other(self, carrier: Carrier, frame: Frame, now: float) -> Optional[Stream]:
        type = frame.type
        if type == PING:
            carrier.answer(Frame(PONG, 0, frame.position))
        elif type == GONE:
            stream = self.streams.get(frame.stream)
            if stream is not None:
                stream.gone()
            return stream
        elif type == OPEN and not self._is_client:
            return self._accept(carrier, frame, now)
        elif type == REFUSED and self._is_client:
            raise Refused(bytes(frame.payload).decode("utf-8", "replace"))
        elif type != PONG or not self._is_client:
            sender = "agent" if self._is_client else "client"
            raise ProtocolError(f"{frame!r} from the {sender}")
        return None

    def _accept(self, carrier: Carrier, frame: Frame, now: float) -> Optional[Stream]:
        id = frame.stream
        stream = self.streams.get(id)
        if stream is None:
            if id < self._floor or id in self._over:
                carrier.answer(Frame(GONE, id))
                return None
            channel = bytes(frame.payload).decode("utf-8", "surrogateescape")
            if channel not in CHANNELS and target_of(channel) is None:
                raise ProtocolError("a stream of an unknown channel")
            # A client of ours uses all ids, so what is over lies between streams that are open.
            if max(len(self.streams), self._over.ranges) >= MAX_STREAMS:
                raise ProtocolError(f"more than {MAX_STREAMS} streams")
            stream = self._make(id, channel)
        carrier.carry(stream)
        stream.acknowledged(frame.position, now)
        stream.acknowledge_now(now)
        return stream

    def _deliver(self, stream: Stream, now: float) -> None:
        if stream is self.control:
            while stream.peek():
                data = bytes(stream.peek())
                stream.consume(len(data), now)
                for message in self._messages.feed(data):
                    self._handler.message(message)
        elif self.streams.get(stream.id) is stream:
            self._handler.deliver(stream, now)

    # -- streams that are over -------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """The lowest id, but the control stream's, of which the client may still speak."""
        ids = [id for id in self.streams if id != CONTROL]
        return min(ids + self._unused[:1], default=self._next)

    def forget_before(self, oldest: int, now: float) -> None:
        """The client will never again speak of ids below `oldest`."""
        self._floor = max(self._floor, oldest)
        self._over.remove_before(self._floor)
        for stream in list(self.streams.values()):
            if CONTROL < stream.id < self._floor:
                self._discard(stream, now)

    def discard_all(self, now: float) -> None:
        """Take out all streams: the attachment ends."""
        for stream in list(self.streams.values()):
            self._discard(stream, now)

    def _discard_done(self, streams: List[Stream], now: float) -> None:
        for stream in [stream for stream in streams if stream.done]:
            self._discard(stream, now)

    def _discard(self, stream: Stream, now: float) -> None:
        """Take out a stream that is over, and have its carriers say so and let it go.

        A carrier that has not sent this when it ends costs the client one more OPEN to hear it.
        """
        if self.streams.get(stream.id) is not stream:
            return
        del self.streams[stream.id]
        if self._is_client and not stream.was_announced:
            heappush(self._unused, stream.id)
        elif not self._is_client and stream.id >= self._floor:
            self._over.add(stream.id)
        stream.let_go()
        self._handler.over(stream)
        for carrier in self.carriers[:]:
            if stream in carrier.streams:
                carrier.send(Frame(GONE, stream.id))
                carrier.release(stream)
                self.pump(carrier, now)

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now: float) -> Optional[float]:
        """Send the acknowledgements that are due at `now`; returns when the next will be."""
        for stream in list(self.streams.values()):
            due = stream.next_deadline()
            if due is not None and due <= now and stream.carriers:
                self._pump_stream(stream, now)
        return self.next_deadline(now)

    def next_deadline(self, now: float) -> Optional[float]:
        """When the next acknowledgement is due. One that is due already waits for room on its
        carrier, with which it goes by itself."""
        times = [s.next_deadline() for s in self.streams.values() if s.carriers]
        return min((t for t in times if t is not None and t > now), default=None)
