"""A carrier brings the frames of streams across, on one connection."""

from __future__ import annotations

from .frames import HEADER, OPEN, Frame, FrameReader, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Protocol

    from .frames import Data
    from .stream import Stream

    class Connection(Protocol):
        """What a carrier travels on: the driver's socket, which never blocks."""

        def send(self, parts: List[Data]) -> bool:
            """Send all of `parts`, keeping what the socket does not take at once; returns whether
            it takes more now. If not, the driver calls `Attachment.make_room` when it does."""

        def close(self) -> None:
            """End it; everything sent before still goes out."""

        def abort(self) -> None:
            """End it at once: nothing more goes out."""


#: Frames without data that may wait to go out. A peer that makes us answer more than that without
#: reading the answers is no peer of ours.
MAX_WAITING = 4 * 4096


class Carrier:
    """One connection that carries frames: bytes in, buffers out.

    About `turn` bytes go to the connection at a time. `has_room` is whether it takes more now.
    """

    def __init__(self, connection: Connection, turn: int) -> None:
        self.connection = connection
        self.turn = turn
        self.has_room = True
        self.streams: List[Stream] = []
        self._has_carried = False
        self._reader = FrameReader()
        self._out: List[Frame] = []
        self._next = 0  # the stream whose turn it was last

    def feed(self, data: bytes) -> List[Frame]:
        """Give the connection's bytes, get the frames that they complete, of DATA also parts.

        Raises `ProtocolError` where no peer of ours sent them: end the carrier.
        """
        return self._reader.feed(data)

    def carry(self, stream: Stream) -> None:
        """Carry `stream` from now on."""
        self._has_carried = True
        if stream not in self.streams:
            self.streams.append(stream)
            stream.carriers += 1

    def announce(self, stream: Stream) -> None:
        """Carry `stream` from now on, as the client does: with an OPEN that says how far it is."""
        self.carry(stream)
        self.name(stream)

    def name(self, stream: Stream) -> None:
        """Tell the agent that `stream` is to be carried here, and how far it is: it may send."""
        stream.was_announced = True
        self.send(
            Frame(
                OPEN, stream.id, stream.position, stream.channel.encode("utf-8", "surrogateescape")
            )
        )

    def release(self, stream: Stream) -> None:
        """Carry `stream` no more."""
        if stream in self.streams:
            self.streams.remove(stream)
            stream.carriers -= 1

    def lose(self) -> List[Stream]:
        """The connection is gone, so its streams send again what was on it. Returns them."""
        streams = self.streams[:]
        for stream in streams:
            self.release(stream)
            stream.resend()
        return streams

    @property
    def is_spent(self) -> bool:
        """Whether it has carried streams, and all of them are over."""
        return self._has_carried and not self.streams

    def send(self, frame: Frame) -> None:
        """Send a frame that is no stream's data."""
        self._out.append(frame)

    def answer(self, frame: Frame) -> None:
        """Send a frame that the peer has asked for.

        Raises `ProtocolError` where it asks and does not read.
        """
        if len(self._out) > MAX_WAITING:
            raise ProtocolError("a peer that asks and never reads")
        self._out.append(frame)

    def drain(self, now: float, room: int) -> List[Data]:
        """What should go out now: buffers of about `room` bytes together, or none."""
        parts: List[Data] = [frame.encode() for frame in self._out]
        self._out.clear()
        size = sum(map(len, parts))
        idle = 0
        while size < room and idle < len(self.streams):
            # One frame from each in turn, so that no stream waits behind another's gigabyte.
            self._next = (self._next + 1) % len(self.streams)
            frame = self.streams[self._next].next_frame(now)
            if frame is None:
                idle += 1
                continue
            idle = 0
            parts += frame.parts()
            size += HEADER.size + len(frame.payload)
        return parts
