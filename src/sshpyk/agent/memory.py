"""Whether the memory that a kernel may use is almost full.

It is looked at when something happens, and never else: a cell has ended (`look`), or Linux tells of
the cgroup whose limit is met first. Of version 2 that is memory.events, which changes when the
cgroup meets its limit and has to give back what it can: caches, say. Version 1 tells of any amount
that is crossed, in either direction, but on newer Linux (tried on 6.18) root alone may ask for
that. Of the machine's own memory Linux tells nobody, so there only the ends of cells are left.
"""

from __future__ import annotations

import os
import select

from ..wire import cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from .evidence import Evidence
    from .loop import Loop

#: The share of the limit from which it is almost full, and that below which it is so no more. What
#: uses about the first is not told of again and again.
FULL, ROOM = 0.9, 0.8

#: What version 1 is to tell of, in percent of the limit: more than these two, for caches count too.
STEPS = range(80, 100, 2)

#: Python has it since 3.10.
EVENTFD: Any = getattr(os, "eventfd", None)

#: Seconds between two looks that Linux causes: a cgroup at its limit may have it tell a hundred
#: times a second.
PAUSE = 1.0


class Memory:
    """That of a kernel, whose process `evidence` is of.

    `short` is None, or {"used", "limit", "machine"} where it is almost full; `changed` is called
    when it has become one or the other. `look` once to begin with.
    """

    def __init__(self, loop: Loop, evidence: Evidence, changed: Callable[[], None]) -> None:
        self.short: Optional[Dict[str, Any]] = None
        self._loop = loop
        self._evidence = evidence
        self._changed = changed
        self._watch_at: Optional[float] = None
        self._fd = -1
        self._events = 0
        directory, limit = evidence.least()
        if directory and limit:
            try:
                self._ask(directory, limit)
            except OSError:
                pass  # this Linux has no such file, or does not let us: the ends of cells are left

    def _ask(self, directory: str, limit: int) -> None:
        """Have Linux tell of the cgroup."""
        if self._evidence.version == 2:
            self._fd = os.open(self._evidence.path(directory, cgroups.EVENTS), os.O_RDONLY)
            self._events = select.POLLPRI
            os.read(self._fd, 4096)  # what has been is no news
        elif EVENTFD is not None:
            self._fd = EVENTFD(0, os.O_NONBLOCK | os.O_CLOEXEC)  # as EFD_NONBLOCK, EFD_CLOEXEC
            self._events = select.POLLIN
            used = os.open(self._evidence.path(directory, cgroups.USED[1]), os.O_RDONLY)
            try:
                for percent in STEPS:
                    line = f"{self._fd} {used} {limit * percent // 100}"
                    control = os.open(self._evidence.path(directory, cgroups.CONTROL), os.O_WRONLY)
                    try:
                        os.write(control, line.encode("ascii"))
                    finally:
                        os.close(control)
            except OSError:
                self.close()
                raise
            finally:
                os.close(used)
        else:
            return
        self._loop.watch(self._fd, self._events, self._told)

    def _told(self, events: int) -> None:
        """By Linux, of what may be much."""
        self._loop.watch(self._fd, 0, self._told)
        self._watch_at = self._loop.now() + PAUSE
        self._loop.hurry()
        self.look()

    def tick(self, now: float) -> Optional[float]:
        """Returns when to call this again, None for never."""
        if self._watch_at is not None and now >= self._watch_at:
            self._watch_at = None
            # What it told first is taken note of here, so that what it told meanwhile is not lost.
            if self._events == select.POLLPRI:
                os.lseek(self._fd, 0, os.SEEK_SET)
            os.read(self._fd, 4096)
            self._loop.watch(self._fd, self._events, self._told)
            self.look()
        return self._watch_at

    def look(self) -> None:
        """How it is now: a cell has ended, or the like."""
        directory, limit = self._evidence.least()
        used = self._evidence.used(directory)
        if used is None or not limit:
            return
        before = self.short
        if used >= FULL * limit:
            self.short = before or {"used": used, "limit": limit, "machine": not directory}
        elif used < ROOM * limit:
            self.short = None
        if self.short is not before:
            self._changed()

    def close(self) -> None:
        """The kernel has ended: ask no more."""
        if self._fd >= 0:
            self._loop.watch(self._fd, 0, self._told)
            os.close(self._fd)
            self._fd = -1
        self._watch_at = None
