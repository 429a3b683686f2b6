"""The forwards of a link, and taking back those of processes that were killed.

A master outlives the processes that use it, and with it their forwards. So each directory says, in
the file `owner`, whose it is, which forwards lead out of it and what master has them; and whoever
connects looks.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..common.processes import start_time
from ..private import runtime_directory
from ..ssh.master import cancel
from ..wire.channels import AGENT, CHANNELS
from .base import Dialer, Listening

if TYPE_CHECKING:
    from ..ssh.master import Master, Pair

PREFIX = "link-"
OWNER = "owner"


class Forwards(Dialer):
    """Forwards of `master` to one agent: a socket a channel in a directory of their own."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._identity = master.identity()
        self._directory = ""
        self._pairs: list[Pair] = []

    async def make(self, listening: Listening) -> bool:
        """Have the master forward to where the agent is `listening`; whether it did."""
        self._directory = tempfile.mkdtemp(dir=runtime_directory(), prefix=PREFIX)
        self._pairs = [
            (os.path.join(self._directory, channel), listening[channel])
            for channel in (*CHANNELS, AGENT)
        ]
        _note(self._directory, self._master.control_path, self._pairs)
        if await self._master.forward(self._pairs):
            return True
        await self.close()
        return False

    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        if not self._directory:
            raise ConnectionAbortedError("the forwards were taken back")
        path = os.path.join(self._directory, channel)
        await asyncio.get_running_loop().create_unix_connection(protocol, path)

    async def close(self) -> None:
        directory, self._directory = self._directory, ""
        if not directory:
            return
        try:
            # Another master by now has none of them.
            if self._identity == self._master.identity():
                await self._master.cancel(self._pairs)
        finally:
            # Even when whoever waits for it is cancelled.
            shutil.rmtree(directory, ignore_errors=True)


def _note(directory: str, master: str, pairs: list[Pair]) -> None:
    """Say whose it is, and the forwards out of it of the master at the path `master`."""
    owner = {
        "node": os.uname().nodename,  # a home may be shared between machines
        "pid": os.getpid(),
        "start": start_time(os.getpid()),
        "master": master,
        "forwards": pairs,
    }
    with open(os.path.join(directory, OWNER), "w", encoding="utf-8") as file:
        json.dump(owner, file)


async def sweep() -> None:
    """Take back the forwards of processes that are no more."""
    for directory, master, pairs in await asyncio.to_thread(_orphans):
        await cancel(master, pairs)
        shutil.rmtree(directory, ignore_errors=True)


def _orphans() -> list[tuple[str, str, list[Pair]]]:
    """The directories whose process is no more, with the master and the forwards they note."""
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
                    pairs: list[Pair] = [(local, remote) for local, remote in owner["forwards"]]
                    found.append((entry.path, owner["master"], pairs))
            except (OSError, ValueError, TypeError, KeyError):
                pass  # it is being made, or being removed
    return found
