"""Where unacknowledged bytes go: into memory up to a limit, then onto disk up to another.

Nothing is thrown away here. Beyond the second limit, or when the disk is full, `Limits.full` is
True, and whoever fills the spool stops reading from the kernel.
"""

from __future__ import annotations

import os

from ..wire.stream import Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Union

    from ..wire.frames import Data

#: Bytes of one file of the spool: when they are acknowledged the file goes, so a spool that fills
#: and drains for days stays small.
SEGMENT = 16 * 1024 * 1024


class Limits:
    """What all spools of one agent may use together; bytes."""

    def __init__(self, memory: int, disk: int, directory: str) -> None:
        self.memory = memory
        self.disk = disk
        self.directory = directory
        self.memory_used = 0
        self.disk_used = 0
        self.trouble = ""  # why the disk takes no more; empty while it does
        self._number = 0

    @property
    def full(self) -> bool:
        """Whether nothing more should be read from the kernel."""
        return bool(self.trouble) and self.memory_used >= self.memory

    def next_path(self) -> str:
        """A name for one more file."""
        self._number += 1
        return os.path.join(self.directory, f"spool-{self._number}")


class Segment:
    """A file with the bytes from `start` to `end`; it has no name any more once it is open.

    `size` is what it takes of the disk: all that was written, until the last of it is released.
    """

    def __init__(self, path: str, start: int) -> None:
        self.start = self.end = start
        self.size = 0
        self._origin = start
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.unlink(path)  # whatever happens to the agent, the disk gets its space back

    def append(self, data: bytes) -> None:
        """Write all of `data` or nothing; raises OSError where the disk is full."""
        view = memoryview(data)
        offset = self.size
        while view:
            written = os.pwrite(self._file, view, offset)
            view = view[written:]
            offset += written
        self.size = offset
        self.end += len(data)

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes at `position`."""
        return os.pread(self._file, min(size, self.end - position), position - self._origin)

    def release(self, position: int) -> None:
        """Let go of everything before `position`: of the file only at its end."""
        self.start = min(position, self.end)
        if self.start == self.end:
            self.close()

    def close(self) -> None:
        """Give the disk its space back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self.size = 0


class Spool:
    """A store of unacknowledged bytes with the names of `Memory`, part in memory, part on disk.

    It is a row of parts in the order of their positions: memory while there is room, then files,
    and memory again for what was read before it turned out that the disk takes no more.
    """

    def __init__(self, limits: Limits) -> None:
        self.start = self.end = 0
        self._limits = limits
        self._parts: List[Union[Memory, Segment]] = []

    def append(self, data: bytes) -> None:
        """Keep `data` behind what is kept already."""
        limits = self._limits
        last = self._parts[-1] if self._parts else None
        fits = limits.memory_used + len(data) <= limits.memory
        segment = last if isinstance(last, Segment) and last.size < SEGMENT else None
        # The last file is filled up even where memory has room again: parts stay in order.
        if (segment is None and fits) or not self._write(data, segment):
            if not isinstance(last, Memory):
                last = Memory(self.end)
                self._parts.append(last)
            last.append(data)
            limits.memory_used += len(data)
        self.end += len(data)

    def _write(self, data: bytes, segment: Optional[Segment]) -> bool:
        """Put `data` into `segment` or a new one; whether the disk took it."""
        limits = self._limits
        if limits.disk_used + len(data) > limits.disk:
            limits.trouble = f"its limit of {limits.disk >> 20} MiB is reached"
            return False
        try:
            if segment is not None:
                segment.append(data)
            else:
                segment = Segment(limits.next_path(), self.end)
                try:
                    segment.append(data)
                except OSError:
                    segment.close()
                    raise
                self._parts.append(segment)
        except OSError as error:
            limits.trouble = error.strerror or str(error)
            return False
        limits.disk_used += len(data)
        limits.trouble = ""
        return True

    def read(self, position: int, size: int) -> Data:
        """Up to `size` of the bytes at `position`, at least one; it lies in [start, end)."""
        # The parts are few (a file holds 16 MiB), and the one wanted is most often the first.
        part = next(part for part in self._parts if position < part.end)
        return part.read(position, size)

    def release(self, position: int) -> None:
        """Let go of everything before `position`."""
        self.start = max(self.start, position)
        limits = self._limits
        while self._parts and self._parts[0].start < self.start:
            part = self._parts[0]
            if isinstance(part, Memory):
                before = part.start
                part.release(min(self.start, part.end))
                limits.memory_used -= part.start - before
            else:
                size = part.size
                part.release(self.start)
                limits.disk_used -= size - part.size
                if not part.size:
                    limits.trouble = ""  # there is room again: try
            if part.start < part.end:
                break
            self._parts.pop(0)

    def clear(self) -> None:
        """Let go of everything."""
        self.release(self.end)
