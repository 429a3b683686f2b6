"""A start has its time, and a stage with a limit of its own does not use it up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from sshpyk.link.stages import Stages
from sshpyk.remotekernel import Stage


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time passes when nothing else is to be done, and not by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = 0.0

    def time(self) -> float:
        return self.moment

    def _run_once(self) -> None:
        timers = [t.when() for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
        if not self._ready and timers:  # type: ignore[attr-defined]
            self.moment = max(self.moment, min(timers))
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    loop = Clock()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def test_work_that_is_quick_enough_gives_what_it_gives() -> None:
    async def work() -> int:
        await asyncio.sleep(9.0)
        return 42

    assert run(Stages(lambda stage: None).run(work(), 10.0)) == 42


def test_work_that_takes_too_long_is_cancelled() -> None:
    ended: list[float] = []

    async def work() -> None:
        try:
            await asyncio.sleep(11.0)
        finally:
            ended.append(asyncio.get_running_loop().time())

    with pytest.raises(TimeoutError):
        run(Stages(lambda stage: None).run(work(), 10.0))
    assert ended == [10.0]


def test_work_that_has_not_heard_of_it_is_cancelled_again() -> None:
    stages = Stages(lambda stage: None)

    async def work() -> None:
        with stages.stage(Stage.QUEUED, 10.0), contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(11.0)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run(stages.run(work(), 10.0))


def test_a_queue_of_hours_does_not_use_up_the_time_of_a_start() -> None:
    seen: list[Stage | None] = []
    stages = Stages(seen.append)

    async def work() -> str:
        stages.at(Stage.LOGIN)
        await asyncio.sleep(4.0)
        with stages.stage(Stage.QUEUED, 24 * 3600.0):
            await asyncio.sleep(5 * 3600.0)
        stages.at(Stage.LAUNCH)
        await asyncio.sleep(5.0)
        return "started"

    assert run(stages.run(work(), 10.0)) == "started"
    assert seen == [Stage.LOGIN, Stage.QUEUED, Stage.LAUNCH, None]


def test_the_rest_after_a_queue_is_what_was_left_before() -> None:
    stages = Stages(lambda stage: None)

    async def work() -> None:
        await asyncio.sleep(4.0)
        with stages.stage(Stage.QUEUED, 100.0):
            await asyncio.sleep(50.0)
        await asyncio.sleep(7.0)

    with pytest.raises(TimeoutError):
        run(stages.run(work(), 10.0))
    assert stages.last is Stage.QUEUED


def test_a_queue_has_a_limit_too() -> None:
    stages = Stages(lambda stage: None)

    async def work() -> None:
        with stages.stage(Stage.QUEUED, 100.0):
            await asyncio.sleep(101.0)

    with pytest.raises(TimeoutError):
        run(stages.run(work(), 1000.0))


def test_a_caller_that_is_cancelled_cancels_the_work() -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(5.0)
        finally:
            ended.append(True)

    async def caller() -> None:
        task = asyncio.ensure_future(Stages(lambda stage: None).run(work(), 10.0))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(caller())
    assert ended == [True]
