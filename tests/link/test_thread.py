"""The I/O thread's end."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext

import pytest

from sshpyk.link.thread import IOThread, io_thread


def test_what_begins_while_something_is_taken_back_ends_too() -> None:
    thread = IOThread()
    begun = threading.Event()
    ended: list[str] = []
    others: list[asyncio.Task[None]] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def begins_another_at_its_end() -> None:
        begun.set()
        try:
            await forever("first")
        finally:
            others.append(asyncio.create_task(forever("second")))
            await asyncio.sleep(0)  # until it waits

    thread.submit(begins_another_at_its_end())
    assert begun.wait(10)
    thread.stop()
    assert ended == ["first", "second"]
    assert thread.loop.is_closed()


def _work(says: Connection) -> None:
    async def farewell() -> None:
        says.send("goodbye")

    io_thread().farewells.add(farewell)


# Python 3.12 warns of each fork beside threads, of which other tests have begun some.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    "context",
    [multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")],
    ids=["fork", "spawn"],
)
def test_a_worker_of_multiprocessing_says_goodbye(context: ForkContext | SpawnContext) -> None:
    # One that was forked ends by os._exit: atexit knows nothing of it.
    hears, says = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(says,))
    worker.start()
    says.close()
    with hears:
        assert hears.poll(20)
        assert hears.recv() == "goodbye"
        with pytest.raises(EOFError):  # once
            hears.recv()
    worker.join()
    assert worker.exitcode == 0
