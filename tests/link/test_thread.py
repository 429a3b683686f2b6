"""The I/O thread's end."""

from __future__ import annotations

import asyncio
import threading

from sshpyk.link.thread import IOThread


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
