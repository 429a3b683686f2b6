"""The directory of a link's forwards, and taking back those of processes that were killed.

A master outlives the processes that use it, and with it their forwards. So each directory says, in
the file `owner`, whose it is and how its forwards are cancelled, and whoever connects looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile

from ..agent.records import start_time
from ..private import runtime_directory
from ..ssh.command import run

PREFIX = "link-"
OWNER = "owner"

#: Seconds for a master to answer.
TIMEOUT = 10.0


def make_directory() -> str:
    """A new directory, this process's own."""
    return tempfile.mkdtemp(dir=runtime_directory(), prefix=PREFIX)


def note(directory: str, cancel: list[str]) -> None:
    """Say whose it is, and the command that cancels what is in it."""
    owner = {
        "node": os.uname().nodename,  # a home may be shared between machines
        "pid": os.getpid(),
        "start": start_time(os.getpid()),
        "cancel": cancel,
    }
    with open(os.path.join(directory, OWNER), "w", encoding="utf-8") as file:
        json.dump(owner, file)


async def sweep() -> None:
    """Take back the forwards of processes that are no more."""
    for directory, cancel in await asyncio.to_thread(_orphans):
        with contextlib.suppress(OSError, TimeoutError, asyncio.TimeoutError):
            await run(cancel, timeout=TIMEOUT)
        shutil.rmtree(directory, ignore_errors=True)


def _orphans() -> list[tuple[str, list[str]]]:
    """The directories whose process is no more, and the commands that they note."""
    found = []
    with os.scandir(runtime_directory()) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX):
                continue
            try:
                with open(os.path.join(entry.path, OWNER), encoding="utf-8") as file:
                    owner = json.load(file)
                here = owner["node"] == os.uname().nodename
                if here and start_time(owner["pid"]) != owner["start"]:
                    found.append((entry.path, [str(word) for word in owner["cancel"]]))
            except (OSError, ValueError, TypeError, KeyError):
                pass  # it is being made, or being removed
    return found
