"""Whether small messages wait for each other at the server. No I/O.

It writes each message as a packet of its own, and by Nagle's algorithm the second waits until the
first was acknowledged: by us, which takes a round trip, or by a proxy, which may take 40 ms. So the
helper has small ones wait for more that may go along (`GATHER`). Where they would not wait as long
at the server, that only costs time. A server on this machine is such a place, but not where it is
behind a proxy: so it is measured.
"""

from __future__ import annotations

from typing import Any

from ..agent.helper import GATHER

#: Times that it is measured: on a machine that has much to do, a single one says little.
MOST = 4


class Pairs:
    """Two small messages that the helper sends at once, and when each of them came."""

    def __init__(self) -> None:
        self._number = 0
        self._first: tuple[int, float] | None = None  # reads and time by which one came
        self._is_over = False

    def ask(self) -> dict[str, Any]:
        """What to send for two more."""
        self._number += 1
        self._first = None
        return {"pair": self._number}

    def came(self, number: object, reads: int, now: float) -> dict[str, Any] | None:
        """One of the pair `number` came with the read of that count, at `now` (seconds); what to
        send then."""
        if self._is_over or number != self._number:
            return None
        if self._first is None:
            self._first = reads, now
            return None
        before, since = self._first
        # What came with the same read may have come long before. Else it is at most so long: we may
        # have been slow, and not quick.
        if reads != before and now - since < GATHER:
            self._is_over = True
            return {"gather": 0.0}
        self._is_over = self._number >= MOST
        return None if self._is_over else self.ask()
