"""One end of a resumable byte stream.

Position is the truth: every byte has an offset, what lies behind the receiver's position is cut,
what lies beyond it waits for the gap to fill, and what the peer has not acknowledged is kept. So
a reconnect is no second code path, only `resend`; and several carriers may bring the pieces of
one stream in any order.

Closing takes one position, as TCP's FIN does: the acknowledgement of position P + 1 says that the
peer delivered all P bytes and saw the close. A side that has closed sends nothing more *and
wants nothing more*, because a ZMQ connection is never half closed; what its peer still kept for
it is dropped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from .beyond import SMALL, Beyond
from .frames import ACK, CHUNK, CLOSE, DATA, LARGE, Frame, ProtocolError, part
from .window import Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, List, Optional, Protocol, Union

    from .frames import Data
    from .window import Path

    class Store(Protocol):
        """What keeps a stream's unacknowledged bytes: see `Memory`."""

        start: int
        end: int

        def append(self, data: bytes) -> None: ...
        def read(self, position: int, size: int) -> Data: ...
        def release(self, position: int) -> None: ...
        def clear(self) -> None: ...


#: Bytes that may be on the way, sent but not yet acknowledged. As acknowledging means delivered,
#: it is also what the receiver holds at most. 16 MiB fill 320 MB/s at 50 ms of round trip.
WINDOW = 16 * 1024 * 1024

#: Acknowledge after so many bytes, so that the sender's memory stays small and its window
#: learns...
ACK_EVERY = 256 * 1024

#: ...which is more often where streams share a path, so that each needs little on the way...
ACK_EVERY_SHARED = 64 * 1024

#: ...or after so many seconds, so that single messages cost one small frame and no latency.
ACK_DELAY = 0.1


class Memory:
    """Keeps the bytes from `start` to `end` in memory; the plain store of unacknowledged bytes.

    The agent's spool has the same four names and puts on disk what is too much for memory.
    """

    def __init__(self, start: int = 0) -> None:
        self.start = self.end = start
        self._positions: List[int] = []
        self._pieces: List[Union[bytes, bytearray]] = []

    def append(self, data: bytes) -> None:
        """Keep `data` behind what is kept already."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, bytearray) and len(last) + len(data) <= CHUNK:
            # Many small writes become one piece: a million prints must not be a million objects.
            last += data
        else:
            self._positions.append(self.end)
            # A large one is kept as it is: copying is what a gigabyte costs.
            self._pieces.append(data if len(data) >= LARGE else bytearray(data))
        self.end += len(data)

    def read(self, position: int, size: int) -> Data:
        """Up to `size` of the bytes at `position`, at least one; it lies in [start, end)."""
        index = bisect_right(self._positions, position) - 1
        offset = position - self._positions[index]
        piece = self._pieces[index]
        if isinstance(piece, bytes):
            return part(piece, offset, offset + size)
        return bytes(memoryview(piece)[offset : offset + size])

    def release(self, position: int) -> None:
        """Let go of everything before `position`."""
        self.start = max(self.start, position)
        done = bisect_right(self._positions, self.start) - 1
        if self.start >= self.end:
            done = len(self._pieces)
        if done > 0:
            del self._positions[:done]
            del self._pieces[:done]

    def clear(self) -> None:
        """Let go of everything."""
        self.release(self.end)


class Stream:
    """One end of one stream: feed it frames and bytes, drain frames and bytes from it.

    `id` and `channel` name it; `kept` holds what is not acknowledged; `path` is what it shares with
    others, if it does. `carriers` is how many carriers it has now (counted by `Carrier`).
    """

    def __init__(
        self, id: int, channel: str, kept: Optional[Store] = None, path: Optional[Path] = None
    ) -> None:
        self.id = id
        self.channel = channel
        self.carriers = 0
        self.was_announced = False  # whether the agent may have heard of it
        self.kept: Store = kept if kept is not None else Memory()
        self._window = Window(WINDOW, path)
        self._ack_every = ACK_EVERY if path is None else ACK_EVERY_SHARED
        self._sent = 0
        self._acked = 0  # end + 1 once the peer has seen our close
        self._closed = False
        self._close_sent = False
        self._arrived: Deque[Data] = deque()
        self._received = 0  # everything before it has arrived
        self._consumed = 0  # everything before it was delivered
        self._announced = 0  # how far we have told the peer
        self._ack_at: Optional[float] = None
        self._beyond = Beyond()
        self._peer_end: Optional[int] = None
        self._gone = False

    # -- what the local side does ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` to the peer, whenever that may be."""
        if not self._closed and not self.over:
            self.kept.append(data)

    def close(self) -> None:
        """Send nothing after what was written, want nothing more."""
        self._closed = True
        self._arrived.clear()
        self._consumed = self._received
        if self._consumed + self._has_delivered_all > self._announced:
            # The peer may wait for just this: it fills its window with what nobody wants now.
            self._plan_ack(float("-inf"))

    def peek(self) -> Data:
        """The next bytes to deliver; empty while there are none."""
        return self._arrived[0] if self._arrived else b""

    def consume(self, size: int, now: float) -> None:
        """Say that the first `size` bytes of `peek` were delivered at `now` (seconds)."""
        piece = self._arrived[0]
        if size == len(piece):
            self._arrived.popleft()
        else:
            self._arrived[0] = part(piece, size)
        self._consumed += size
        self._plan_ack(now)

    # -- what it answers -------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> int:
        """Bytes kept because the peer has not acknowledged them."""
        return self.kept.end - self.kept.start

    @property
    def window(self) -> int:
        """Bytes that the path has use for on the way, as far as is known."""
        return self._window.size

    @property
    def position(self) -> int:
        """How far this side has delivered."""
        return self._consumed

    @property
    def is_closed(self) -> bool:
        """Whether this side has closed."""
        return self._closed

    @property
    def is_ending(self) -> bool:
        """Whether the peer has closed, though perhaps not everything was delivered."""
        return self._gone or self._peer_end is not None

    @property
    def peer_closed(self) -> bool:
        """Whether the peer has closed and everything it sent before was delivered."""
        return self._gone or self._has_delivered_all

    @property
    def _has_delivered_all(self) -> bool:
        return self._peer_end is not None and self._consumed >= self._peer_end

    @property
    def over(self) -> bool:
        """Whether nothing is left to do for either side but to send a last acknowledgement."""
        return self.peer_closed or (self._closed and self._acked > self.kept.end)

    @property
    def done(self) -> bool:
        """Whether it is over and may be discarded.

        Only the client can come back for what was lost on the way, so it forgets last: when it
        knows that the stream is over at the agent. The agent forgets with its last
        acknowledgement; should that get lost, GONE answers whoever asks again.
        """
        if self.was_announced:
            return self._gone or self._acked > self.kept.end
        return self.over and (self._ack_at is None or not self.carriers)

    # -- what goes out ---------------------------------------------------------------------------

    def next_frame(self, now: float) -> Optional[Frame]:
        """The next frame that should go out on any of the carriers, or None."""
        if self._ack_at is not None and now >= self._ack_at:
            return self._ack()
        if self.over:
            return None
        room = self._acked + self._window.size - self._sent
        if self._sent < self.kept.end and room > 0:
            piece = self.kept.read(self._sent, min(CHUNK, room))
            frame = Frame(DATA, self.id, self._sent, piece)
            self._sent += len(piece)
            self._window.sent(self._sent, now)
            return frame
        if self._closed and not self._close_sent and self._sent == self.kept.end:
            self._close_sent = True
            return Frame(CLOSE, self.id, self.kept.end)
        return None

    def has_frame(self, now: float) -> bool:
        """Whether `next_frame` has one."""
        if self._ack_at is not None and now >= self._ack_at:
            return True
        if self.over:
            return False
        if self._sent < self.kept.end:
            return self._sent < self._acked + self._window.size
        return self._closed and not self._close_sent

    def next_deadline(self) -> Optional[float]:
        """When `next_frame` will have an acknowledgement to send that it has not now."""
        return self._ack_at

    def acknowledge_now(self, now: float) -> None:
        """Tell the peer with the next frame how far this side has come."""
        self._ack_at = now

    def resend(self) -> None:
        """A carrier was lost, and nobody knows with how much: begin at what is acknowledged."""
        self._sent = min(self._acked, self.kept.end)
        self._close_sent = False
        self._window.forget()
        self._ack_at = float("-inf")

    # -- what comes in ---------------------------------------------------------------------------

    def receive(self, frame: Frame, now: float) -> None:
        """Take a DATA, ACK or CLOSE frame of this stream, in whatever order they come.

        Raises `ProtocolError` where no peer of ours could have sent it.
        """
        if frame.type == ACK:
            self.acknowledged(frame.position, now)
        elif frame.type == DATA:
            self._receive_data(frame.position, frame.payload, now)
        else:
            self._receive_close(frame.position, now)

    def acknowledged(self, position: int, now: float) -> None:
        """The peer has delivered everything before `position`."""
        if position > self.kept.end + self._closed:
            raise ProtocolError("an acknowledgement of bytes that were never sent")
        if position > self._acked:
            self._acked = position
            self._window.acknowledged(position, now)
            self._sent = max(self._sent, min(position, self.kept.end))
            self.kept.release(min(position, self.kept.end))

    def gone(self) -> None:
        """The peer knows this stream no more: whatever there was to do is done."""
        self._gone = True
        self.let_go()

    def let_go(self) -> None:
        """Keep nothing more: it is over."""
        self.kept.clear()
        self._window.forget()

    def _receive_data(self, position: int, data: Data, now: float) -> None:
        end = position + len(data)
        if end > self._consumed + WINDOW:
            raise ProtocolError("data beyond the window")
        if self._peer_end is not None and end > self._peer_end:
            raise ProtocolError("data behind the end of its stream")
        if end <= self._received:
            # Sent twice, so our acknowledgement was lost or late.
            self._plan_ack(now)
            return
        if position > self._received:
            self._beyond.add(position, data)
            return
        self._deliver(part(data, self._received - position))
        if self._beyond:
            for piece in self._beyond.take(self._received):
                self._deliver(piece)
        if self._closed:
            self._plan_ack(now)

    def _deliver(self, data: Data) -> None:
        self._received += len(data)
        if self._closed:
            self._consumed = self._received
        elif self._arrived and len(data) < SMALL and len(self._arrived[-1]) < SMALL:
            # Many small arrivals become one: Python adds 50 bytes or more to each.
            self._arrived[-1] = bytes(self._arrived[-1]) + data
        else:
            self._arrived.append(data)

    def _receive_close(self, position: int, now: float) -> None:
        if position < self._received or self._peer_end not in (None, position):
            raise ProtocolError(f"a close at {position} of a stream that is at {self._received}")
        if position > self._consumed + WINDOW:
            raise ProtocolError("a close beyond the window")
        self._peer_end = position
        self._plan_ack(now)

    def _plan_ack(self, now: float) -> None:
        if self.peer_closed:
            self.kept.clear()
            self._ack_at = now
        elif self._consumed - self._announced >= self._ack_every:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY

    def _ack(self) -> Frame:
        self._ack_at = None
        self._announced = self._consumed + self._has_delivered_all
        return Frame(ACK, self.id, self._announced)
