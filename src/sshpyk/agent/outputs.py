"""What the kernel does and prints, as its iopub tells: busy or idle, and output while away.

The agent overhears what the first client on iopub gets: that costs the kernel nothing, where with a
subscription of the agent's own it would send everything twice. When that client closes, the agent
keeps the connection, and where there never was one it subscribes as any client does. From that of
its own it goes on to another client's when the last message of both is the same: each brings all
messages in the same order, but either may be the first.

While somebody listens it keeps only the last moments, in memory, because what a client that
vanishes had not taken yet is then missing. While nobody listens the messages go to the file
`outputs.jsonl`, a line of JSON each: "at" (time.time()), "header" and "parent" (the message's
headers) and "content"; without buffers, and bounded: the oldest half goes. Lines with a "mark"
stand between: "away"; "back", when somebody came; "resumed", when a listener came back who had
been there, who gets the same from the stream. An input that ran on when they left is told "again".

A client such as Jupyter Server listens without end; it says itself whether anybody sees what it
gets, and which message is saved. What is not comes first in the file then.
"""

from __future__ import annotations

import time

from ..wire.quickjson import dumps
from ..wire.zmtp import HANDSHAKE, SUBSCRIBE, Reader
from .kernel import Log, connect
from .loop import Eager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Set, Tuple

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

#: Bytes of one message at most that are kept while nobody listens; a larger one is left out.
LARGEST = 32 * 1024 * 1024

#: Bytes of a message that tell which one it is: its header stands in front.
HEAD = 4096

#: Bytes that are kept while somebody listens. When the listener vanishes it may have missed what
#: was published up to MARGIN seconds before it was last heard of.
RECENT = 256 * 1024
MARGIN = 0.1

#: Seconds for which output is still kept when a new listener has come: its subscription has yet to
#: reach the kernel.
SETTLE = 1.0

#: Seconds between two tries to subscribe at a kernel that takes no connection.
TRY_AGAIN = 1.0


class Outputs:
    """Overhears one kernel after another. `limit` is in bytes on disk; `on_activity` is called when
    `busy` changes, which is None while unknown; it is so since `since` (time.time()). `on_output`
    gets the JSON of what is printed or shown; `on_lost` is called when the kernel has closed a
    connection."""

    def __init__(
        self,
        loop: Loop,
        path: str,
        limit: int,
        on_activity: Callable[[], None],
        on_output: Callable[[bytes], None] = lambda content: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.busy: Optional[bool] = None
        self.since = time.time()
        self.is_away = False
        self._loop = loop
        self._path = path
        self._limit = limit
        self._on_activity = on_activity
        self._on_output = on_output
        self._on_lost = on_lost
        self._log: Optional[Log] = None
        # The readers of the clients' connections to iopub, and the header of the last message of
        # each; "" where it is not known.
        self._readers: Dict[Reader, bytes] = {}
        self._overheard: Optional[Reader] = None  # the one whose messages are taken
        self._own: Optional[Iopub] = None  # the agent's own connection, where it has one
        self._own_last = b""  # the header of its last message
        self._running = b""  # the input that the kernel runs, or ran last
        self._at_work: Set[bytes] = set()  # the parents of those "busy" whose "idle" is to come
        self._recent: List[Tuple[float, bytes]] = []
        self._recent_size = 0
        self._listeners: Set[Listener] = set()
        self._settles_at: Optional[float] = None
        self._is_saved = False  # whether those who listen tell what is saved

    def subscribe(self, address: Address, now: float) -> Optional[float]:
        """Overhear the kernel, where that is not so yet, by a connection of the agent's own.

        Returns when to try again, where the kernel takes no connection.
        """
        if self._overheard is not None or self._own is not None:
            return None
        try:
            sock, is_connected = connect(address)
        except BlockingIOError:
            return now + TRY_AGAIN
        except OSError:
            return None  # it has just ended: that will be told
        self._own = Iopub(self, self._loop, sock, Reader(), is_connected=is_connected)
        self._own.send([HANDSHAKE])
        return None

    def follow(self) -> Reader:
        """A reader for a client's new connection, to be given to `overhear` with what comes."""
        reader = Reader()
        self._readers[reader] = b""
        return reader

    def overhear(self, reader: Reader, data: bytes) -> None:
        """`data` has come from the kernel's iopub, on the connection of `reader`.

        The first connection that brings a message is overheard. Of the others it is only known
        where messages end, so that one of them can be overheard later.
        """
        offset = 0
        while offset < len(data):
            reader.keep = self._kept_of(reader)
            offset = reader.read(data, offset)
            if reader.has_ended:
                if self._overheard is None:
                    self._overheard = reader
                if self._overheard is reader:
                    self._take(reader.frames)
                if self._own is not None:
                    self._go_on_from(self._own, reader)

    def _kept_of(self, reader: Reader) -> int:
        if self._overheard is reader or self._overheard is None:
            return LARGEST if self.is_away else RECENT
        return 0 if self._own is None else HEAD

    def _go_on_from(self, own: Iopub, reader: Reader) -> None:
        """`reader` has brought a message: see whether a client's can be overheard from now on, in
        place of the agent's own."""
        last = header_of(reader.frames)
        if reader is own.reader:
            self._own_last = last
        elif reader in self._readers:
            self._readers[reader] = last
        for other, its_last in self._readers.items():
            if other is self._overheard or (last and its_last == self._own_last == last):
                self._overheard = other
                self._own, self._own_last = None, b""
                own.close()
                return

    def adopt(self, reader: Reader, sock: Socket, *, is_connected: bool) -> None:
        """A client lets go of its connection: close it, or go on with it where it is overheard."""
        self._readers.pop(reader, None)
        if self._overheard is not reader:
            sock.close()
            return
        self._own_last = header_of(reader.frames) if reader.has_ended else b""
        self._own = Iopub(self, self._loop, sock, reader, is_connected=is_connected)

    def lost(self, reader: Reader) -> None:
        """The kernel has closed a connection, as it does when it ends."""
        self._readers.pop(reader, None)
        if self._overheard is reader:
            self.forget_kernel()
        elif self._own is not None and self._own.reader is reader:
            self._own = None
        self._on_lost()

    def forget_kernel(self) -> None:
        """The kernel has ended."""
        if self._own is not None:
            self._own.close()
        self._own = self._overheard = None
        self._at_work.clear()
        self._set_busy(None)

    def listen(self, listeners: Set[Listener], heard: float, now: float) -> Optional[float]:
        """Be told who listens now, and when one of them was heard last; when to be told again."""
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

    def seen_by_person(self, is_seen: bool, *, is_same: bool) -> None:
        """A client says whether anybody sees what it gets, and if so, whether it is the `same`
        who did before and has missed nothing."""
        self._is_saved = True
        if is_seen and not is_same and self.is_away:
            self._listeners.clear()  # none of them got what was missed
            self._settles_at = 0.0  # whoever says so listens already

    def saved(self, message: str) -> None:
        """What was published up to the message with this id is saved where it is seen."""
        id = message.encode("ascii", "replace")
        for number in reversed(range(len(self._recent))):
            if id in self._recent[number][1].partition(b',"parent":')[0]:
                self._recent_size -= sum(len(line) for _, line in self._recent[: number + 1])
                del self._recent[: number + 1]
                return

    def _take(self, frames: List[bytes]) -> None:
        """The kernel has published a message."""
        try:
            start = frames.index(b"<IDS|MSG>") + 2
            header, parent, _, content = frames[start : start + 4]
        except ValueError:
            return  # an iopub_welcome, nothing of Jupyter's, or too large
        if b'"status"' in header:
            self._take_status(parent, content)
        elif any(kind in header for kind in KINDS) and content:
            parts = (header, parent, content)
            if b"\n" in header or b"\n" in parent or b"\n" in content:
                parts = tuple(part.replace(b"\n", b" ") for part in parts)  # type: ignore[assignment]
            line = b'{"at":%.3f,"header":%s,"parent":%s,"content":%s}\n' % (time.time(), *parts)
            if b'"execute_input"' in header:
                self._running = line
            else:
                self._on_output(content)
            if self.is_away:
                self._write(line)
            else:
                self._remember(self._loop.now(), line)

    def _take_status(self, parent: bytes, content: bytes) -> None:
        # By their parents: a request on the control channel, such as a browser's debugger makes,
        # begins and ends while a cell runs.
        if b'"busy"' in content:
            self._at_work.add(parent)
        elif b'"idle"' in content:
            self._at_work.discard(parent)
        else:
            return
        self._set_busy(bool(self._at_work))

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
        since = 0.0 if self._is_saved else heard - MARGIN
        missed = [line for at, line in self._recent if at >= since]
        if self.busy and self._running and self._running not in missed:
            # The rest is the output of this input.
            missed.insert(0, b'{"again":true,' + self._running[1:])
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


def header_of(frames: List[bytes]) -> bytes:
    """The header of a message, which no other has; empty where it is nothing of Jupyter's."""
    try:
        return frames[frames.index(b"<IDS|MSG>") + 2]
    except (ValueError, IndexError):
        return b""


class Iopub(Eager):
    """A connection of the agent's own to the kernel's iopub."""

    def __init__(
        self, outputs: Outputs, loop: Loop, sock: Socket, reader: Reader, *, is_connected: bool
    ) -> None:
        self.reader = reader
        self._outputs = outputs
        super().__init__(loop, sock, is_connected=is_connected)

    def take_in(self, data: bytes) -> None:
        was_ready = self.reader.is_ready
        self._outputs.overhear(self.reader, data)
        if self.reader.is_ready and not was_ready and not self.is_closed:
            self.send([SUBSCRIBE])

    def on_closed(self) -> None:
        self._outputs.lost(self.reader)
