"""Waiting, on every Python that we run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` gives; after `seconds` it is cancelled, and TimeoutError is raised.

    As `asyncio.wait_for`, which before Python 3.12 keeps a cancellation to itself where the work
    ends in the same moment (bpo-37658): what was to end then goes on, a start beyond its time.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _cancel(task)
        if task.cancelled() or task.exception() is not None:
            raise
        _cancel_later()  # for what it gave may be somebody's to close
        return task.result()
    if not task.done():
        await _cancel(task)
        if task.cancelled():
            raise TimeoutError(f"not within {seconds:g} s")
    return task.result()


def take_exception(future: asyncio.Future[Any]) -> None:
    """Those who waited have what it raised; it may be that nobody does any more."""
    if not future.cancelled():
        future.exception()


async def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _cancel_later() -> None:
    """The current task, which was cancelled, hears of that where it waits next."""
    task = asyncio.current_task()
    assert task is not None
    if hasattr(task, "uncancel"):  # Python 3.11 counts; this is the same cancellation
        task.uncancel()
    task.cancel()
