"""A set of numbers that are mostly neighbours."""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


class Ids:
    """Numbers, kept as ranges: what a year of heartbeats has used up is one range."""

    def __init__(self) -> None:
        self._starts: List[int] = []
        self._ends: List[int] = []  # of each range, the number behind its last

    @property
    def ranges(self) -> int:
        """How many ranges they take."""
        return len(self._starts)

    def __contains__(self, id: int) -> bool:
        index = bisect_right(self._starts, id) - 1
        return index >= 0 and id < self._ends[index]

    def add(self, id: int) -> None:
        """Put `id` in."""
        if id in self:
            return
        starts, ends = self._starts, self._ends
        index = bisect_right(starts, id)
        joins_before = index > 0 and ends[index - 1] == id
        joins_after = index < len(starts) and starts[index] == id + 1
        if joins_before and joins_after:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_before:
            ends[index - 1] = id + 1
        elif joins_after:
            starts[index] = id
        else:
            starts.insert(index, id)
            ends.insert(index, id + 1)

    def remove_before(self, id: int) -> None:
        """Take out all numbers below `id`."""
        count = bisect_right(self._ends, id)
        del self._starts[:count], self._ends[:count]
        if self._starts and self._starts[0] < id:
            self._starts[0] = id
