"""What those who wait for a run are shown of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from sshpyk.api.running import Running
from sshpyk.api.runs import Work
from sshpyk.link.thread import io_thread

NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {},
    "cells": [{"cell_type": "code", "source": "", "metadata": {}, "outputs": []}],
}


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


class Run:
    """A run whose last output comes with its end, while who waits has the first in hand."""

    id = "0123"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.is_over = threading.Event()

    async def follow(self, got: Callable[[bytes], None], away: Callable[[bool], None]) -> None:
        got(line(mark="run", notebook=NOTEBOOK, cells=[0]))
        await asyncio.to_thread(self.go_on.wait, 10)
        content = {"name": "stdout", "text": "the last words"}
        got(line(header={"msg_type": "stream"}, parent={}, content=content))
        got(line(mark="end", status="ok"))
        self.is_over.set()

    async def forget(self) -> None:
        """Nothing is kept."""


def test_output_that_comes_with_the_end_is_shown() -> None:
    run = Run()
    kernel: Any = SimpleNamespace(host="gpu", id="4567", leave=lambda: None)
    work = Work(NOTEBOOK, "s.py", [0], [])
    running = Running(kernel, run, work, None, ends=False)  # type: ignore[arg-type]
    shown: list[str] = []

    async def nothing() -> None:
        """Runs behind what the loop has to do by now."""

    def seen(running: Running) -> None:
        shown.extend(text for _, text in running.replay.texts)
        running.replay.texts.clear()
        if not run.is_over.is_set():
            run.go_on.set()
            assert run.is_over.wait(10)
            io_thread().submit(nothing()).result(10)

    assert running.wait(seen).status == "ok"
    assert shown == ["the last words"]
