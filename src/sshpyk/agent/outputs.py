"""What the kernel does and says, as its iopub tells: busy or idle, and output while away.

The agent hears what the first client on iopub gets: that costs the kernel nothing, where with a
subscription of the agent's own it would send everything twice. When that client closes, the agent
goes on with its connection; where there was none, it subscribes as any client does.

While somebody listens it keeps only the last moments, in memory, because what a client that
vanishes had not taken yet is then missing. While nobody listens the messages go to the file
`outputs.jsonl`, a line of JSON each: "at" (time.time()), "header" and "parent" (the message's
headers) and "content"; without buffers, and bounded: the oldest half goes. Lines with a "mark"
stand between: "away"; "back", when somebody came; "resumed", when it was who had been there, who
gets the same from the stream.
"""

from __future__ import annotations

import time

from ..wire.quickjson import dumps
from ..wire.zmtp import HANDSHAKE, LARGEST, SUBSCRIBE, Subscriber
from .kernel import Log, connect
from .loop import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Set, Tuple

    from ..common.sockets import Socket
    from .kernel import Address
    from .loop import Loop

    Listener = Tuple[str, int]  # an attachment, and its stream

FILE = "outputs.jsonl"

#: What makes the output of a cell; the rest is status, and what widgets say to each other.
KINDS = (
    b'"stream"',
    b'"display_data"',
    b'"update_display_data"',
    b'"execute_result"',
    b'"execute_input"',
    b'"error"',
    b'"clear_output"',
)

#: Bytes that are remembered while somebody listens, and seconds by which a vanished listener may
#: have missed them before it was last heard of.
RECENT = 256 * 1024
MARGIN = 0.1

#: Seconds that what a new listener gets is kept as well: its subscription has yet to reach the
#: kernel.
SETTLE = 1.0


class Outputs:
    """The agent's ear at one kernel. `limit` is in bytes on disk; `on_activity` hears of changes of
    `busy`, which is None while unknown, since `since` (time.time())."""

    def __init__(self, loop: Loop, path: str, limit: int, on_activity: Callable[[], None]) -> None:
        self.busy: Optional[bool] = None
        self.since = time.time()
        self.is_away = False
        self._loop = loop
        self._path = path
        self._limit = limit
        self._on_activity = on_activity
        self._log: Optional[Log] = None
        self._ear: Optional[Subscriber] = None  # of whose connection is listened to
        self._connection: Optional[Iopub] = None  # where that is the agent's own
        self._running = b""  # the input that the kernel took last
        self._recent: List[Tuple[float, bytes]] = []
        self._recent_size = 0
        self._listeners: Set[Listener] = set()
        self._settles_at: Optional[float] = None

    def subscribe(self, address: Address) -> None:
        """Hear the kernel, where that is not so yet, by a connection of the agent's own."""
        if self._ear is not None or self._connection is not None:
            return
        try:
            sock = connect(address)
        except OSError:
            return  # it has just ended: that will be told
        self._connection = Iopub(self, self._loop, sock, Subscriber())
        self._connection.send([HANDSHAKE])

    def overhear(self, subscriber: Subscriber, data: bytes) -> bool:
        """`data` has come from the kernel's iopub; whether it is of use to go on with these.

        The first connection that brings a message is the one that is listened to.
        """
        if self._ear not in (None, subscriber):
            return False
        subscriber.largest = LARGEST if self.is_away else RECENT
        now = self._loop.now()
        for frames in subscriber.feed(data):
            self._ear = subscriber
            self.take(frames, now)
        return True

    def adopt(self, subscriber: Subscriber, sock: Socket) -> None:
        """A client lets go of its connection: go on with it where it is the one listened to."""
        if self._ear is subscriber:
            self._connection = Iopub(self, self._loop, sock, subscriber)
        else:
            sock.close()

    def lost(self, subscriber: Subscriber) -> None:
        """The kernel has closed a connection, as it does when it ends."""
        if self._ear is subscriber:
            self.forget_kernel()

    def forget_kernel(self) -> None:
        """The kernel has ended."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._ear = None
        self._set_busy(None)

    def attend(self, listeners: Set[Listener], heard: float, now: float) -> Optional[float]:
        """Say who listens now, and when one of them was heard last; the time to say it again."""
        if not listeners:
            self._settles_at = None
            if not self.is_away and self._listeners:
                self._go_away(heard)
            return None
        if self.is_away:
            if listeners & self._listeners:
                self._come_back("resumed")
            elif self._settles_at is None:
                self._settles_at = now + SETTLE
            elif now >= self._settles_at:
                self._come_back("back")
        if not self.is_away:
            self._settles_at = None
            self._listeners = set(listeners)
        return self._settles_at

    def take(self, frames: List[bytes], now: float) -> None:
        """The kernel has published a message."""
        try:
            start = frames.index(b"<IDS|MSG>") + 2
            header, parent, _, content = frames[start : start + 4]
        except ValueError:
            return  # an iopub_welcome, or nothing of Jupyter's
        if b'"status"' in header:
            self._take_status(content)
        elif any(kind in header for kind in KINDS) and content:
            parts = (header, parent, content)
            if b"\n" in header or b"\n" in parent or b"\n" in content:
                parts = tuple(part.replace(b"\n", b" ") for part in parts)  # type: ignore[assignment]
            line = b'{"at":%.3f,"header":%s,"parent":%s,"content":%s}\n' % (time.time(), *parts)
            if b'"execute_input"' in header:
                self._running = line
            if self.is_away:
                self._write(line)
            else:
                self._remember(now, line)

    def _take_status(self, content: bytes) -> None:
        if b'"busy"' in content:
            self._set_busy(True)
        elif b'"idle"' in content:
            self._set_busy(False)

    def _set_busy(self, busy: Optional[bool]) -> None:
        if busy is not self.busy:
            self.busy = busy
            self.since = time.time()
            self._on_activity()

    def _remember(self, now: float, line: bytes) -> None:
        self._recent.append((now, line))
        self._recent_size += len(line)
        if self._recent_size > RECENT:
            while self._recent_size > RECENT // 2:
                self._recent_size -= len(self._recent.pop(0)[1])

    def _go_away(self, heard: float) -> None:
        self.is_away = True
        self._mark("away")
        missed = [line for at, line in self._recent if at >= heard - MARGIN]
        if self.busy and self._running not in missed:
            missed.insert(0, self._running)  # whose output the rest is
        for line in missed:
            self._write(line)
        self._recent.clear()
        self._recent_size = 0

    def _come_back(self, mark: str) -> None:
        self.is_away = False
        self._mark(mark)

    def _mark(self, mark: str) -> None:
        self._write(dumps({"at": time.time(), "mark": mark}).encode("ascii") + b"\n")

    def _write(self, line: bytes) -> None:
        if self._log is None:
            try:
                self._log = Log(self._path, self._limit // 2)
            except OSError:
                return  # the disk is full
        self._log.write(line)


class Iopub(Connection):
    """A connection of the agent's own to the kernel's iopub."""

    def __init__(self, outputs: Outputs, loop: Loop, sock: Socket, subscriber: Subscriber) -> None:
        self._outputs = outputs
        self._subscriber = subscriber
        super().__init__(loop, sock)

    def on_data(self, data: bytes) -> None:
        was_ready = self._subscriber.is_ready
        if not self._outputs.overhear(self._subscriber, data):
            self.close()  # a client was quicker
        elif self._subscriber.is_ready and not was_ready:
            self.send([SUBSCRIBE])

    def on_closed(self) -> None:
        self._outputs.lost(self._subscriber)
