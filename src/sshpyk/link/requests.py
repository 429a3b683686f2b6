"""Requests to the agent that wait for their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .. import errors


class Requests:
    """Numbers requests, and gives each its answer. `say(type, **fields)` sends a message."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        """The agent's answer; waits as long as the link is away.

        Raises `RemoteError` where it says no, or what `fail` is given.
        """
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._say(type, number=number, **fields)
            return await future
        finally:
            del self._waiting[number]

    def answer(self, number: int, result: dict[str, Any] | errors.SshpykError) -> None:
        """The answer to the request of this number, which nobody may wait for any more."""
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if isinstance(result, errors.SshpykError):
            future.set_exception(result)
        else:
            future.set_result(result)

    def fail(self, error: errors.SshpykError) -> None:
        """None of those that wait will be answered."""
        for number in list(self._waiting):
            self.answer(number, error)
