"""Calls that block, in a thread of their own each after the other, for an event loop to await."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """One thread, begun with the first call; `end` it. A process that exits does not wait for it.

    All methods belong to the loop on which it is made.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Call it after all that was called before; cancelling does not take it back."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._has_ended:
            future.cancel()
            return future

        def work() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:
                self._tell(_fail, future, error)
            else:
                self._tell(_give, future, result)

        self._calls.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    def end(self) -> None:
        """Begin no further call; the thread ends after the last."""
        self._has_ended = True
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
            del work  # it may hold what a call was given

    def _tell(self, how: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            self._loop.call_soon_threadsafe(how, *arguments)


def _give(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waits has it; nobody may
