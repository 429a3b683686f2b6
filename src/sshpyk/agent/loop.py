"""A small event loop over `select`: sockets and one clock, nothing else."""

from __future__ import annotations

import errno
import select
import time
from _socket import AF_UNIX, IPPROTO_TCP, SO_ERROR, SOL_SOCKET, TCP_NODELAY
from math import ceil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

    from ..common.sockets import Socket
    from ..wire.frames import Data

READ = select.POLLIN  # the same for poll and epoll
WRITE = select.POLLOUT

#: Seconds that are waited at most at once: the system's own limit is some weeks.
DAY = 24 * 3600.0

#: Seconds from a callback to the `tick` that deals with what it may have changed. What `tick` does
#: can wait so long, and while there is much to do one tick is enough for many callbacks.
SOON = 0.02

#: What is read goes through here: to get a new buffer of this size each time, and to give back what
#: of it is not needed, takes three system calls more. It is a DATA frame's payload, less the head
#: of a port's record, and some: what is read at once travels in one frame.
_buffer = memoryview(bytearray(256 * 1024 - 64))

#: So many pieces of at most that size are read before the first is taken in.
MOST_UNREAD = 256

_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


def poller() -> Tuple[Any, float]:
    """The system's best object to wait for descriptors with, and a millisecond in its unit."""
    if hasattr(select, "epoll"):
        return select.epoll(), 0.001
    return select.poll(), 1


class Loop:
    """Calls back when a descriptor is ready, and `tick` when its deadline has come."""

    def __init__(
        self, tick: Callable[[float], Optional[float]], on_defect: Callable[[], None]
    ) -> None:
        self._poll, self._unit = poller()
        self._watched: Dict[int, Tuple[int, Callable[[int], None]]] = {}
        self._tick = tick
        self._tick_at = float("-inf")
        self._on_defect = on_defect
        self.running = True

    @staticmethod
    def now() -> float:
        """Seconds on the clock that every deadline is on."""
        return time.monotonic()

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call `callback(events)` whenever `fd` is ready for `events`; 0 is never."""
        known = self._watched.get(fd)
        if not events:
            if known is not None:
                del self._watched[fd]
                self._poll.unregister(fd)
            return
        if known is None:
            self._poll.register(fd, events)
        elif events != known[0]:
            self._poll.modify(fd, events)
        self._watched[fd] = events, callback

    def hurry(self) -> None:
        """Have `tick` called before anything else."""
        self._tick_at = float("-inf")

    def run(self) -> None:
        """Run until `running` is False. `tick` gets the time and returns its next deadline; it is
        called then, or soon after a callback.

        A defect in a callback must not take the kernel along: `on_defect` is called while it is
        being handled, and the loop goes on without that descriptor.
        """
        while self.running:
            now = self.now()
            if now >= self._tick_at:
                self._call_tick(now)
                continue
            # Rounded up: what comes a moment too early would come once more.
            ready = self._poll.poll(ceil(min(DAY, self._tick_at - now) * 1000) * self._unit)
            for fd, events in ready:
                if fd not in self._watched:
                    continue  # closed by one before it
                wanted, callback = self._watched[fd]
                try:
                    # An error or a hang-up is for whoever reads or writes next to find.
                    callback(events & (READ | WRITE) or wanted)
                except Exception:  # a defect must not take the kernel along
                    self._on_defect()
                    self.watch(fd, 0, callback)
            if ready:
                self._tick_at = min(self._tick_at, self.now() + SOON)

    def _call_tick(self, now: float) -> None:
        self._tick_at = float("inf")  # `tick` itself may call `hurry`
        try:
            deadline = self._tick(now)
        except Exception:  # a defect must not take the kernel along
            self._on_defect()
            deadline = now + 1.0
        if deadline is not None:
            self._tick_at = min(self._tick_at, deadline)


class Connection:
    """A socket that never blocks, with what could not be sent yet.

    One that is not connected yet waits for that; `on_closed` is called where that fails.
    """

    def __init__(self, loop: Loop, sock: Socket, *, is_connected: bool = True) -> None:
        sock.setblocking(False)
        if sock.family != AF_UNIX:
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.loop = loop
        self.socket = sock
        self.is_closed = False
        self.is_connecting = not is_connected
        self._unsent: List[Data] = []
        self._wants_room = False
        self._reading = True
        self._watch()

    @property
    def is_blocked(self) -> bool:
        """Whether something waits until the socket takes it."""
        return self._wants_room or self.is_connecting or bool(self._unsent)

    def read(self, wanted: bool) -> None:
        """Say whether `on_data` is wanted."""
        if wanted != self._reading:
            self._reading = wanted
            self._watch()

    def send(self, parts: Sequence[Data]) -> bool:
        """Send all of `parts`, now or as soon as the socket takes it; whether it takes more now."""
        self._unsent += parts
        self._flush()
        return not self.is_closed and not self.is_blocked

    def wait_for_room(self) -> None:
        """Have `on_writable` called when the socket takes more, and the others had their turn."""
        self._wants_room = True
        self._watch()

    def offer(self, data: Data) -> int:
        """Send what the socket takes of `data` at once; how much. `on_writable` tells of room."""
        if self.is_connecting:
            return 0
        try:
            sent = self.socket.send(data)
        except OSError as error:
            if error.errno not in _AGAIN:
                self._broken()
                return 0
            sent = 0
        self._wants_room = sent < len(data)
        self._watch()
        return sent

    def close(self) -> None:
        """Close; `on_closed` is not called."""
        if not self.is_closed:
            self.detach().close()

    def detach(self) -> Socket:
        """Close without closing the socket, which is the caller's from now on."""
        self.is_closed = True
        self.loop.watch(self.socket.fileno(), 0, self._on_ready)
        return self.socket

    def on_read(self, view: memoryview) -> None:
        """Bytes came: `view` holds them until this returns."""
        self.on_data(bytes(view))

    def on_data(self, data: bytes) -> None:
        """The same, with a copy to be kept."""
        raise NotImplementedError

    def on_writable(self) -> None:
        """Everything was sent, after something had to wait."""

    def on_end(self) -> None:
        """The other side sends nothing more: with most connections that is their end."""
        self._broken()

    def on_closed(self) -> None:
        """The other side has closed, or the connection broke; it is closed here as well."""
        raise NotImplementedError

    def _watch(self) -> None:
        if not self.is_closed:
            read = self._reading and not self.is_connecting
            events = (READ if read else 0) | (WRITE if self.is_blocked else 0)
            self.loop.watch(self.socket.fileno(), events, self._on_ready)

    def _flush(self) -> None:
        if self.is_connecting:
            return
        waited = bool(self._unsent)
        while self._unsent:
            try:
                sent = self.socket.sendmsg(self._unsent[:16])
            except OSError as error:
                if error.errno not in _AGAIN:
                    self._broken()
                    return
                break
            while self._unsent and sent >= len(self._unsent[0]):
                sent -= len(self._unsent.pop(0))
            if sent:
                self._unsent[0] = memoryview(self._unsent[0])[sent:]
                break  # it has no room for the rest
        if waited:
            self._watch()

    def _on_ready(self, events: int) -> None:
        if self.is_connecting:
            if self.socket.getsockopt(SOL_SOCKET, SO_ERROR):
                self._broken()
                return
            self.is_connecting = False
        if events & WRITE:
            self._wants_room = False
            self._flush()
            if not self._unsent and not self.is_closed:
                self.on_writable()
                self._watch()
        if events & READ and not self.is_closed:
            try:
                size = self.socket.recv_into(_buffer)
            except OSError as error:
                if error.errno in _AGAIN:
                    return
                self._broken()
                return
            if size:
                self.on_read(_buffer[:size])
            else:
                self.on_end()

    def _broken(self) -> None:
        if not self.is_closed:
            self.close()
            self.on_closed()


class Eager(Connection):
    """Reads all there is before it takes in any of it, and again between.

    For what a kernel publishes: it throws away what is beyond a thousand messages that wait for
    us, however long we take with those that we have.
    """

    def __init__(self, loop: Loop, sock: Socket, *, is_connected: bool = True) -> None:
        self._unread: List[bytes] = []
        super().__init__(loop, sock, is_connected=is_connected)

    def on_data(self, data: bytes) -> None:
        self._unread.append(data)
        self._read_on()
        while self._unread:
            self.take_in(self._unread.pop(0))
            self._read_on()

    def _read_on(self) -> None:
        while self._reading and not self.is_closed and len(self._unread) < MOST_UNREAD:
            try:
                size = self.socket.recv_into(_buffer)
            except OSError:
                return  # nothing more for now; what broke is for the loop to find
            if not size:
                return
            self._unread.append(bytes(_buffer[:size]))

    def take_in(self, data: bytes) -> None:
        """Bytes came, and nothing more waits to be read."""
        raise NotImplementedError
