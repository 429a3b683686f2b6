"""The stages of a start, and the time that each may take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from ..remotekernel import Stage

T = TypeVar("T")

#: Seconds after which work that was cancelled and has not ended is cancelled again: more than it
#: needs to take back what it has begun.
AGAIN = 15.0


class Stages:
    """Runs a start within its time. A stage with a limit of its own does not count as part of it:
    a queue may take hours, and the start after it has its usual seconds.

    `on_stage` is called with each stage as it begins, and with None after the last.
    """

    def __init__(self, on_stage: Callable[[Stage | None], None]) -> None:
        self.last = Stage.LOGIN  # the latest that was entered
        self._on_stage = on_stage
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False  # whether time has run out

    async def run(self, work: Awaitable[T], seconds: float) -> T:
        """What `work` gives; it is cancelled after `seconds`, those of limited stages apart.

        Raises TimeoutError then.
        """
        self._is_over = False
        task = self._task = asyncio.ensure_future(work)
        self._let_run(seconds)
        try:
            return await task
        except asyncio.CancelledError:
            if self._is_over:
                raise TimeoutError(f"not within {seconds:g} s") from None
            raise
        finally:
            self._stop()
            self._task = None
            self._enter(None)

    @contextlib.contextmanager
    def stage(self, stage: Stage, limit: float | None = None) -> Iterator[None]:
        """The work is at `stage`; with a `limit` in seconds it has those, and the rest waits."""
        self._enter(stage)
        if limit is None or self._is_over:
            yield
            return
        left = self._stop()
        self._let_run(limit)
        try:
            yield
        finally:
            if not self._is_over:
                self._stop()
                if left is not None:
                    self._let_run(left)

    def at(self, stage: Stage) -> None:
        """The work is at `stage` from now on."""
        self._enter(stage)

    def _enter(self, stage: Stage | None) -> None:
        if stage is not None:
            self.last = stage
        self._on_stage(stage)

    def _let_run(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _stop(self) -> float | None:
        """Stop the clock; the seconds that were left."""
        timer, self._timer = self._timer, None
        if timer is None:
            return None
        timer.cancel()
        return max(0.0, timer.when() - asyncio.get_running_loop().time())

    def _end(self) -> None:
        # Again and again: somewhere below, what ends in the same moment may hide a cancellation,
        # and then nothing else would ever end this start.
        self._is_over = True
        self._let_run(AGAIN)
        if self._task is not None:
            self._task.cancel()
