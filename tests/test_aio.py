"""A wait that ends in time, and never keeps a cancellation to itself."""

import asyncio

import pytest

from sshpyk.aio import within

LONG = 60.0


async def cancelled_as_it_ends(
    work: "asyncio.Future[str]", end: BaseException | str
) -> list[object]:
    """What somebody meets who waits for `work` and is cancelled in the moment of its end."""
    met: list[object] = []

    async def waits() -> None:
        try:
            met.append(await within(LONG, work))
        except OSError as error:
            met.append(error)
        await asyncio.Event().wait()

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)  # until it waits
    if isinstance(end, str):
        work.set_result(end)
    else:
        work.set_exception(end)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, "the cancellation is lost"
    assert task.cancelled()
    return met


async def slow(ended: list[bool]) -> None:
    """What takes for ever, and notes its end."""
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(True)


def test_a_cancellation_is_not_lost_where_the_work_ends_in_the_same_moment() -> None:
    async def work() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        assert await cancelled_as_it_ends(future, "a connection") == ["a connection"]

    asyncio.run(work())


def test_nor_where_it_fails_in_that_moment_for_who_tries_again_would_go_on() -> None:
    async def work() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        assert await cancelled_as_it_ends(future, OSError("refused")) == []

    asyncio.run(work())


def test_work_that_takes_too_long_is_ended_and_has_ended_then() -> None:
    ended: list[bool] = []

    with pytest.raises(TimeoutError, match=r"not within 0\.01 s"):
        asyncio.run(within(0.01, slow(ended)))
    assert ended == [True]


def test_what_ends_in_time_gives_what_it_gave_and_raises_what_it_raised() -> None:
    async def gives(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    assert asyncio.run(within(LONG, gives(3))) == 3
    with pytest.raises(ValueError, match="-1"):
        asyncio.run(within(LONG, gives(-1)))


def test_who_is_cancelled_has_ended_the_work() -> None:
    ended: list[bool] = []

    async def work() -> None:
        task = asyncio.ensure_future(within(LONG, slow(ended)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert ended == [True]
