"""Waiting, on every Python that we run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` gives, as `asyncio.wait_for`; after `seconds` it is cancelled.

    Raises the built-in TimeoutError then, where Python 3.10 has another of that name.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError(f"not within {seconds:g} s") from None


def take_exception(future: asyncio.Future[Any]) -> None:
    """Those who waited have what it raised; it may be that nobody does any more."""
    if not future.cancelled():
        future.exception()
