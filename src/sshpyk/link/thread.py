"""The I/O thread: one event loop for everything that must live between Jupyter's calls.

A blocking KernelManager runs its event loop only while one of its methods does, so what keeps a
link alive can't run there.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds that goodbyes may take when the interpreter ends.
FAREWELL = 5.0

#: Seconds that what was interrupted has to clean up.
PATIENCE = 3.0


class IOThread:
    """A thread with an event loop; begun when first needed, one for the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.farewells: set[Callable[[], Awaitable[object]]] = set()
        self._thread = threading.Thread(target=self._run, name="sshpyk", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine there; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and await it here, on whatever loop this is.

        When the caller is cancelled, the work is, and what it takes back is waited for.
        """
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def end(task: asyncio.Task[T]) -> None:
            if task.cancelled():
                done.cancel()
            elif (error := task.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result(task.result())

        def begin() -> None:
            tasks.append(self.loop.create_task(work))
            tasks[0].add_done_callback(end)

        self.loop.call_soon_threadsafe(begin)
        waiting = asyncio.wrap_future(done)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not waiting.done():
                self.loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                await asyncio.wait([waiting])
            if not waiting.cancelled():
                waiting.exception()  # nobody is left who wants it
            raise

    def stop(self) -> None:
        """Say goodbye to whoever asked for it, then end the thread."""

        async def goodbye() -> None:
            work = [asyncio.ensure_future(_call(farewell)) for farewell in self.farewells]
            if work:
                await asyncio.wait(work, timeout=FAREWELL)
            told = {asyncio.current_task()}
            # What is taken back may begin something itself.
            while rest := asyncio.all_tasks() - told:
                for task in rest:
                    task.cancel()
                await asyncio.wait(rest, timeout=FAREWELL)
                told |= rest

        # Whatever is not said by then: the interpreter ends anyway, and agents keep the lease.
        with contextlib.suppress(concurrent.futures.TimeoutError, RuntimeError):
            self.submit(goodbye()).result(2 * FAREWELL + 2.0)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2.0)


async def _call(farewell: Callable[[], Awaitable[object]]) -> None:
    await farewell()


_lock = threading.Lock()
_thread: IOThread | None = None


def io_thread() -> IOThread:
    """The process's I/O thread."""
    global _thread
    with _lock:
        if _thread is None:
            _thread = IOThread()
            _stop_with_worker()
        return _thread


def wait_for(work: Awaitable[T]) -> T:
    """Await `work` on the I/O thread, and wait for its result in a thread without a loop.

    At Ctrl+C the work is cancelled, and what it takes back is waited for `PATIENCE` seconds.
    """

    async def noted() -> T:
        try:
            return await work
        finally:
            ended.set()

    ended = threading.Event()
    future = io_thread().submit(noted())
    try:
        return future.result()
    except KeyboardInterrupt:
        # The work first ends what it has begun, such as an ssh at this terminal.
        if future.cancel():
            ended.wait(PATIENCE)
        raise


def _stop_with_worker() -> None:
    """Have it say goodbye at the end of a worker of multiprocessing, too: one that was forked ends
    without `atexit`."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _stop, exitpriority=0)


def _stop() -> None:
    global _thread
    if _thread is not None:
        _thread.stop()
        _thread = None


def _forget() -> None:
    """In a forked child the thread does not run; it gets one of its own when it needs one."""
    global _thread, _lock
    _thread = None
    _lock = threading.Lock()


atexit.register(_stop)
os.register_at_fork(after_in_child=_forget)
