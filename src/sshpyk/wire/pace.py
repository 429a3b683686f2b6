"""How much of one stream may be on the way, so that others do not wait behind it.

Whatever a sender has on the way beyond what the path holds waits in some buffer: ssh's, the
kernel's, a router's. On a slow link those hold seconds, and a reply that comes behind them on
another channel waits as long. So the sender watches how long its bytes take, and keeps as much on
the way as adds at most `PATIENCE` to the shortest time seen (the idea of LEDBAT, RFC 6817).
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

#: Bytes between two of the positions whose times are kept: a million prints are not a million.
COARSE = 4096

#: Seconds after which the shortest time seen is looked for anew: paths change.
MEMORY = 30.0


class Pace:
    """Learns from when bytes were sent and acknowledged; `window` is the bytes to have on the way.

    `most` is the largest window.
    """

    def __init__(self, most: int) -> None:
        self.window = min(most, 2 * LEAST)
        self._most = most
        self._sent: Deque[Tuple[int, float]] = deque()
        self._shortest = float("inf")
        self._shortest_at = float("-inf")
        self._acked = 0
        self._judged = 0  # what was sent before this says nothing of the last shrinking

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
        if latest - position < self.window // 2:
            return  # there is not more to send: the window was not what held it
        waited = taken - self._shortest
        if waited <= PATIENCE:
            # Twice as much with each round trip at first, ever less as the line grows.
            grown = self.window + int(freed * (1 - waited / PATIENCE))
            self.window = min(self._most, grown)
        elif position > self._judged:
            share = max(0.5, (self._shortest + PATIENCE) / taken)
            self.window = max(min(LEAST, self._most), int(self.window * share))
            self._judged = latest

    def forget(self) -> None:
        """A carrier was lost: what is acknowledged now says nothing about the path."""
        self._sent.clear()
        self._judged = 0
