"""What has arrived of a stream beyond a gap, until the gap is filled."""

from __future__ import annotations

from bisect import bisect_right

from .frames import ProtocolError, part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from .frames import Data

#: A piece of fewer bytes than this is joined with its neighbour: Python adds 50 bytes or more to
#: each piece that is kept by itself.
SMALL = 1024

#: Pieces that may wait, none next to the other. A peer of ours leaves a gap where a frame travels
#: on another carrier, and sixteen megabytes on the way are not so many frames.
MAX_PIECES = 65536


class Beyond:
    """Pieces of a stream in the order of their positions, without overlap, small ones joined."""

    def __init__(self) -> None:
        self._positions: List[int] = []
        self._pieces: List[Data] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(map(len, self._pieces))

    def add(self, position: int, data: Data) -> None:
        """Keep `data`, which begins at `position`, but for what is here already.

        Raises `ProtocolError` where there are more gaps than a peer of ours leaves.
        """
        positions, pieces = self._positions, self._pieces
        index = bisect_right(positions, position)
        if index:
            end = positions[index - 1] + len(pieces[index - 1])
            if end > position:
                data = part(data, end - position)
                position = end
        while data:
            following = positions[index] if index < len(positions) else position + len(data)
            index += self._insert(index, position, part(data, 0, following - position))
            # Behind a piece that is here already there may be more of it that is not.
            if following >= position + len(data):
                break
            end = following + len(pieces[index])
            data = part(data, end - position)
            position = end
            index += 1

    def _insert(self, index: int, position: int, data: Data) -> int:
        """Put `data` before the piece at `index`; returns by how much that one moved."""
        if not data:
            return 0
        positions, pieces = self._positions, self._pieces
        before = pieces[index - 1] if index else b""
        is_next = index > 0 and positions[index - 1] + len(before) == position
        if is_next and len(data) < SMALL and len(before) < SMALL:
            pieces[index - 1] = bytes(before) + data
            return 0
        if len(pieces) >= MAX_PIECES:
            raise ProtocolError(f"more than {MAX_PIECES} gaps")
        positions.insert(index, position)
        pieces.insert(index, data)
        return 1

    def take(self, position: int) -> List[Data]:
        """Take out what follows `position` without a gap, and what lies before it is dropped."""
        taken: List[Data] = []
        count = 0
        for start, data in zip(self._positions, self._pieces):  # noqa: B905  # strict= is 3.10's
            if start > position:
                break
            count += 1
            if start + len(data) > position:
                taken.append(part(data, position - start))
                position = start + len(data)
        del self._positions[:count], self._pieces[:count]
        return taken
