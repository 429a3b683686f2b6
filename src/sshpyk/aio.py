"""Waiting, on every Python that we run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What `work` gives, as `asyncio.wait_for`; after `seconds` it is cancelled.

    Raises the built-in TimeoutError then, where Python 3.10 has another of that name.
    """
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError(f"not within {seconds:g} s") from None
