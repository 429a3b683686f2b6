"""A carrier brings the frames of streams across; an attachment is all streams of one client.

Both ends use these classes under thin drivers that own the sockets: asyncio on the client,
`selectors` on the host.
"""

from __future__ import annotations

from .frames import (
    ACK,
    CLOSE,
    DATA,
    GONE,
    HEADER,
    HELLO,
    OPEN,
    PING,
    PONG,
    REFUSED,
    WELCOME,
    Frame,
    FrameReader,
    ProtocolError,
)
from .stream import Memory, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, List, Optional, Set, Union

    from .stream import Store

#: Streams that one attachment may have open: a client has five a kernel, and a few for each
#: notebook that shows it; more than this is no client of ours.
MAX_STREAMS = 4096

#: Frames that may wait to go out, beside streams' data. Whoever has us answer more than that
#: without reading it is no peer of ours.
MAX_WAITING = 4 * MAX_STREAMS


class Attachment:
    """One end of all the streams between one client and one agent.

    `generation` counts how often the client has connected anew: the agent ends the carriers of
    earlier ones, which sshd may keep half open for a long time. `keep` makes a new stream's store
    of unacknowledged bytes.
    """

    def __init__(self, id: str, keep: Callable[[], Store] = Memory) -> None:
        self.id = id
        self.generation = 0
        self.streams: Dict[int, Stream] = {}
        self._keep = keep
        self._next = 0
        self._floor = 0
        self._over: Set[int] = set()  # ids from the floor up whose streams are over

    def open(self, channel: str) -> Stream:
        """A new stream; only the client opens them. The first, 0, is the control stream."""
        stream = Stream(self._next, channel, self._keep())
        self._floor = self._next = self._next + 1  # nothing to remember of what is over here
        self.streams[stream.id] = stream
        return stream

    @property
    def oldest(self) -> int:
        """The lowest id, but 0, that the client may still speak of."""
        return min((id for id in self.streams if id), default=self._next)

    def accept(self, id: int, channel: str) -> Optional[Stream]:
        """The agent's side of OPEN: the stream, a new one or one that exists; None when over."""
        if id in self._over or self._is_forgotten(id):
            return None
        if id not in self.streams:
            if len(self.streams) >= MAX_STREAMS:
                raise ProtocolError(f"more than {MAX_STREAMS} streams")
            self.streams[id] = Stream(id, channel, self._keep())
        return self.streams[id]

    def forget_before(self, oldest: int) -> List[Stream]:
        """The client will never again speak of ids below `oldest`; returns streams that end so."""
        self._floor = max(self._floor, oldest)
        self._over = {id for id in self._over if not self._is_forgotten(id)}
        return [stream for id, stream in self.streams.items() if self._is_forgotten(id)]

    def _is_forgotten(self, id: int) -> bool:
        return 0 < id < self._floor

    def discard(self, stream: Stream) -> None:
        """Take out a stream that is over, and have its carriers say so and let it go.

        A carrier that has not sent this when it ends costs the client one more OPEN to hear it.
        """
        if self.streams.pop(stream.id, None) is None:
            return
        if not self._is_forgotten(stream.id):
            self._over.add(stream.id)
        stream.kept.clear()
        for carrier in stream.carriers[:]:
            carrier.send(Frame(GONE, stream.id))
            carrier.release(stream)

    def next_deadline(self) -> Optional[float]:
        """When the next acknowledgement is due."""
        times = [s.next_deadline() for s in self.streams.values() if s.carriers]
        return min((t for t in times if t is not None), default=None)


class Carrier:
    """One connection that carries frames: bytes in, bytes out, no socket.

    The client makes one with its attachment; the agent makes one without, and sets `attachment`
    when the HELLO has named a client that it knows.
    """

    def __init__(self, attachment: Optional[Attachment] = None) -> None:
        self.attachment = attachment
        self.streams: List[Stream] = []
        self._is_client = attachment is not None
        self._reader = FrameReader()
        self._out: List[Frame] = []
        self._turn = 0

    def carry(self, stream: Stream) -> None:
        """Carry `stream` from now on."""
        if stream not in self.streams:
            self.streams.append(stream)
            stream.carriers.append(self)

    def announce(self, stream: Stream) -> None:
        """The client's way to carry: begin with OPEN, which says how far it has come."""
        self.carry(stream)
        stream.was_announced = True
        self.send(Frame(OPEN, stream.id, stream.position, stream.channel.encode("ascii")))

    def release(self, stream: Stream) -> None:
        """Carry `stream` no more."""
        if stream in self.streams:
            self.streams.remove(stream)
            stream.carriers.remove(self)

    def lost(self) -> List[Stream]:
        """The connection is gone: its streams will send again. Returns them."""
        streams = self.streams[:]
        for stream in streams:
            self.release(stream)
            stream.resend()
        return streams

    def send(self, frame: Frame) -> None:
        """Send a frame that is no stream's data."""
        self._out.append(frame)

    def drain(self, now: float, room: int) -> List[bytes]:
        """What should go out now: buffers of about `room` bytes together, or none."""
        parts = [frame.encode() for frame in self._out]
        self._out.clear()
        size = sum(map(len, parts))
        idle = 0
        while size < room and idle < len(self.streams):
            # One frame from each in turn, so that no stream waits behind another's gigabyte.
            self._turn = (self._turn + 1) % len(self.streams)
            frame = self.streams[self._turn].next_frame(now)
            if frame is None:
                idle += 1
                continue
            idle = 0
            parts += frame.parts()
            size += HEADER.size + len(frame.payload)
        return parts

    def receive(self, data: bytes, now: float) -> Iterator[Union[Frame, Stream]]:
        """Take the connection's bytes; yields what the driver must attend to, in its order.

        A frame: HELLO, WELCOME, REFUSED and PONG are the driver's to answer, before it asks for
        the next. A stream: it has changed, so there may be bytes to deliver, room to write, or an
        end. Raises `ProtocolError`: end the carrier.
        """
        changed: List[Stream] = []
        for frame in self._reader.feed(data):
            attachment = self.attachment
            if attachment is None:
                if frame.type != HELLO:
                    raise ProtocolError(f"{frame!r} before HELLO")
                yield frame
            elif len(self._out) > MAX_WAITING:
                raise ProtocolError("a peer that asks and never reads")
            elif frame.type == PING:
                self.send(Frame(PONG, 0, frame.position))
            elif frame.type in (OPEN, DATA, ACK, CLOSE, GONE):
                stream = self._apply(attachment, frame, now)
                if stream is not None and stream not in changed:
                    changed.append(stream)
            elif frame.type == HELLO:
                raise ProtocolError("a HELLO from the agent, or a second one")
            elif frame.type in (WELCOME, REFUSED, PONG) and not self._is_client:
                raise ProtocolError(f"{frame!r} from the client")
            else:
                yield frame
        for stream in changed:
            yield stream

    def _apply(self, attachment: Attachment, frame: Frame, now: float) -> Optional[Stream]:
        if frame.type == OPEN:
            return self._open(attachment, frame, now)
        stream = attachment.streams.get(frame.stream)
        if stream is None:
            pass  # it is over here, and every carrier that had it was told so
        elif frame.type == GONE:
            stream.gone()
        else:
            stream.receive(frame, now)
        return stream

    def _open(self, attachment: Attachment, frame: Frame, now: float) -> Optional[Stream]:
        if self._is_client:
            raise ProtocolError("an OPEN from the agent")
        stream = attachment.accept(frame.stream, frame.payload.decode("ascii", "replace"))
        if stream is None:
            self.send(Frame(GONE, frame.stream))
        else:
            self.carry(stream)
            stream.acknowledged(frame.position, now)
            stream.acknowledge_now(now)
        return stream
