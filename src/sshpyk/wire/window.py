"""How much of one stream may be on the way, so that other streams do not wait behind it.

What a sender has on the way beyond what the path holds waits in some buffer: ssh's, the kernel's,
a router's. On a slow link those buffers hold seconds, and a reply that comes behind them on another
channel waits as long. So the sender watches how long its bytes take, and keeps as much on the way
as adds at most `PATIENCE` to the shortest time seen (the idea of LEDBAT, RFC 6817).
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Tuple

#: Seconds that the bytes of one stream may wait in line.
PATIENCE = 0.1

#: Bytes that may always be on the way: enough for 10 MB/s at 50 ms, and it grows from there.
LEAST = 512 * 1024

#: Bytes between two positions whose times are kept, so that a million prints are not a million
#: entries.
COARSE = 4096

#: Seconds after which the shortest time seen is forgotten and measured anew: paths change.
MEMORY = 30.0


class Window:
    """Learns from when bytes were sent and acknowledged; `size` is the bytes to have on the way.

    `most` is the largest size.
    """

    def __init__(self, most: int) -> None:
        self.size = min(most, 2 * LEAST)
        self._most = most
        self._sent: Deque[Tuple[int, float]] = deque()
        self._shortest = float("inf")
        self._shortest_at = float("-inf")
        self._acked = 0
        # How far the stream had been sent when the window last shrank. Bytes sent before then went
        # out under the larger window, so their delay is no reason to shrink it once more.
        self._shrunk_at = 0

    def sent(self, position: int, now: float) -> None:
        """The bytes before `position` are on the way at `now` (seconds)."""
        if not self._sent or position - self._sent[-1][0] >= COARSE:
            self._sent.append((position, now))

    def acknowledged(self, position: int, now: float) -> None:
        """The peer has delivered everything before `position`."""
        taken = None
        while self._sent and self._sent[0][0] <= position:
            taken = now - self._sent.popleft()[1]
        freed, self._acked = position - self._acked, max(position, self._acked)
        if taken is None:
            return
        if taken <= self._shortest or now > self._shortest_at + MEMORY:
            self._shortest = taken
            self._shortest_at = now
        latest = self._sent[-1][0] if self._sent else position
        if latest - position < self.size // 2:
            return  # there was not more to send, so the window did not hold anything back
        waited = taken - self._shortest
        if waited <= PATIENCE:
            # It doubles with each round trip at first, and grows less as the line gets longer.
            grown = self.size + int(freed * (1 - waited / PATIENCE))
            self.size = min(self._most, grown)
        elif position > self._shrunk_at:
            share = max(0.5, (self._shortest + PATIENCE) / taken)
            self.size = max(min(LEAST, self._most), int(self.size * share))
            self._shrunk_at = latest

    def forget(self) -> None:
        """A carrier was lost: what is acknowledged now says nothing about the path."""
        self._sent.clear()
        self._shrunk_at = 0
