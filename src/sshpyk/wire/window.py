"""How much of one stream may be on the way, so that other streams do not wait behind it.

What a sender has on the way beyond what the path holds waits in some buffer: ssh's, the kernel's,
a router's. On a slow link those buffers hold seconds, and a reply that comes behind them on another
channel waits as long. So the sender watches how long its bytes take, and keeps as much on the way
as adds at most `PATIENCE` to the shortest time seen (the idea of LEDBAT, RFC 6817).

A browser fetches with six connections at once. If each took the line that the others make for the
path, they would add up to seconds; so streams that share a `Path` share what they know of it, and
the bytes that may always be on the way.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Optional, Tuple

#: Seconds that the bytes of one stream may wait in line.
PATIENCE = 0.1

#: Bytes that may always be on the way: enough for 10 MB/s at 50 ms, and it grows from there.
LEAST = 512 * 1024

#: Streams between which these are shared; more than that have as much each. It is what a receiver
#: acknowledges at once, twice: with less on the way a stream would stand still.
MOST_SHARES = 4

#: Bytes between two positions whose times are kept, so that a million prints are not a million
#: entries.
COARSE = 4096

#: Seconds after which the shortest time seen is forgotten and measured anew: paths change.
MEMORY = 30.0


class Path:
    """What streams know of the path that they share: the shortest time seen, and how many of them
    have bytes on the way."""

    def __init__(self) -> None:
        self.shortest = float("inf")
        self.shortest_at = float("-inf")
        self.busy = 0

    @property
    def least(self) -> int:
        """Bytes of one stream that may always be on the way."""
        return LEAST // max(1, min(self.busy, MOST_SHARES))

    def took(self, seconds: float, now: float) -> float:
        """Bytes took `seconds`; how much of that they have waited in line."""
        if seconds <= self.shortest or now > self.shortest_at + MEMORY:
            self.shortest = seconds
            self.shortest_at = now
        return seconds - self.shortest


class Window:
    """Learns from when bytes were sent and acknowledged; `size` is the bytes to have on the way.

    `most` is the largest size; `path` is shared with other streams' windows, None is one's own.
    """

    def __init__(self, most: int, path: Optional[Path] = None) -> None:
        self._path = path if path is not None else Path()
        self._most = most
        self.size = min(most, 2 * self._path.least)
        self._sent: Deque[Tuple[int, float]] = deque()
        self._acked = 0
        # How far the stream had been sent when the window last shrank. Bytes sent before then went
        # out under the larger window, so their delay is no reason to shrink it once more.
        self._shrunk_at = 0

    def sent(self, position: int, now: float) -> None:
        """The bytes before `position` are on the way at `now` (seconds)."""
        if not self._sent:
            self._path.busy += 1
        if not self._sent or position - self._sent[-1][0] >= COARSE:
            self._sent.append((position, now))

    def acknowledged(self, position: int, now: float) -> None:
        """The peer has delivered everything before `position`."""
        taken = None
        while self._sent and self._sent[0][0] <= position:
            taken = now - self._sent.popleft()[1]
            self._path.busy -= not self._sent
        freed, self._acked = position - self._acked, max(position, self._acked)
        if taken is None:
            return
        waited = self._path.took(taken, now)
        latest = self._sent[-1][0] if self._sent else position
        if latest - position < self.size // 2:
            return  # there was not more to send, so the window did not hold anything back
        if waited <= PATIENCE:
            # It doubles with each round trip at first, and grows less as the line gets longer.
            grown = self.size + int(freed * (1 - waited / PATIENCE))
            self.size = min(self._most, grown)
        elif position > self._shrunk_at:
            share = max(0.5, (taken - waited + PATIENCE) / taken)
            self.size = max(min(self._path.least, self._most), int(self.size * share))
            self._shrunk_at = latest

    def forget(self) -> None:
        """A carrier was lost, or the stream is over: what is acknowledged now says nothing about
        the path."""
        self._path.busy -= bool(self._sent)
        self._sent.clear()
        self._shrunk_at = 0
