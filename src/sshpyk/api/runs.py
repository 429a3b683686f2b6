"""Runs: notebooks and scripts that a host executes by itself, and how we follow one.

What runs there is `sshpyk.agent.run`, whose journal is all that we need: a run that is watched, one
that was left, and one that somebody comes back to are the same, read from another place of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import errors
from ..notebook import files, parameters
from ..notebook.form import Notebook
from ..notebook.outputs import joined
from ..remotekernel import State

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel, Status
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from ..transport.entrance import Entrance
    from ..wire.requests import JournalRequest, RunRequest

#: Seconds for a login, for a job on the host after it, and before a journal that could not be read
#: is read again.
CONNECT = 15.0
ANSWER = 30.0
PAUSE = 0.3

#: Tags of cells, as nbclient knows them.
SKIP, MAY_RAISE = "skip-execution", "raises-exception"

#: Before a Python script: its words, and no advice of IPython's on how to quit where it exits.
PRELUDE = """\
import sys, warnings
sys.argv = {words}
warnings.filterwarnings("ignore", "To exit: use ")
del sys, warnings
"""

#: Bytes of a notebook as JSON that a host is sent.
LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True)
class Work:
    """What is to run: `cells` of a notebook, by their place in it; those `allowed` may raise."""

    notebook: Notebook
    name: str
    cells: list[int]
    allowed: list[int]
    is_script: bool = False


def of_notebook(
    path: str, values: Mapping[str, Any], language: str
) -> tuple[Work | None, list[str]]:
    """The work that a notebook's file is, with `values` for its parameters, and what a person
    should know of these. None where its language must be known, and neither it nor `language`,
    that of the kernel, says.

    Raises `SettingsError`.
    """
    notebook = files.read(path)
    notes = []
    if values:
        language = language_of(notebook) or language
        if not language:
            return None, []
        notes = parameters.inject(notebook, values, language)
    cells, allowed = [], []
    for place, cell in enumerate(notebook["cells"]):
        tags = parameters.tags(cell)
        is_empty = not joined(cell.get("source")).strip()
        if cell["cell_type"] != "code" or is_empty or SKIP in tags:
            continue
        cells.append(place)
        cell.update(outputs=[], execution_count=None)
        if MAY_RAISE in tags:
            allowed.append(place)
    return Work(notebook, os.path.basename(path)[:255], cells, allowed), notes


def of_script(path: str, arguments: Sequence[str], language: str) -> Work | None:
    """The work that a script's file is: one cell, with `sys.argv` set before where it is Python.
    None where no `language` is known.

    Raises `SettingsError`.
    """
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
    except OSError as error:
        raise errors.Unreadable(path=path, reason=error.strerror) from None
    except UnicodeDecodeError:
        raise errors.Unreadable(path=path, reason="it is not text in UTF-8") from None
    if not language:
        return None
    name = os.path.basename(path)
    sources = [source]
    if language == "python":
        words = json.dumps([name, *arguments], ensure_ascii=False)
        sources.insert(0, PRELUDE.format(words=words))
    elif arguments:
        raise errors.SettingsError(
            text=f"Words for a script can be given to Python, and this kernel runs {language}."
        )
    empty: dict[str, Any] = {"metadata": {}, "outputs": [], "execution_count": None}
    cells = [{"cell_type": "code", "source": text, **empty} for text in sources]
    for cell in cells:
        cell["outputs"], cell["metadata"] = [], {}
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    return Work(notebook, name[:255], list(range(len(cells))), [], is_script=True)


def language_of(notebook: Notebook) -> str:
    """The language that a notebook names, in lower case; empty where it names none."""
    for part, key in (("kernelspec", "language"), ("language_info", "name")):
        named = notebook["metadata"].get(part)
        if isinstance(named, dict) and named.get(key):
            return str(named[key]).lower()
    return ""


class Run:
    """One run, as this process sees it. All methods belong to the I/O thread.

    `kernel` is what the host is reached through where we are attached: it knows when the host is
    away and when it is back. `offset` is how many bytes of the journal have been read.
    """

    def __init__(
        self,
        destination: Destination | Entrance | Allocation | ServerAddress,
        python: str,
        *,
        id: str = "",
        kernel: RemoteKernel | None = None,
    ) -> None:
        self.id = id or uuid.uuid4().hex
        self.offset = 0
        self._destination = destination
        self._python = python
        self._kernel = kernel

    async def begin(self, work: Work, kernel_id: str, *, ends: bool) -> None:
        """Have the host begin; the kernel `ends` after the run, unless somebody is there.

        From now on the run needs nobody. Raises `SshpykError`.
        """
        request: RunRequest = {
            "do": "run",
            "id": kernel_id,
            "run": self.id,
            "name": work.name,
            "notebook": work.notebook,
            "cells": work.cells,
            "allowed": work.allowed,
            "ends": ends,
        }
        await ask(self._destination, self._python, request)

    async def follow(self, got: Callable[[bytes], None], away: Callable[[bool], None]) -> None:
        """Have `got` called with each piece of the journal until the run has ended, and `away`
        when the host is out of reach, and when it is back.

        Without a `kernel` raises `HostError` where the connection is lost. Raises `SshpykError`.
        """
        while True:
            reading = asyncio.ensure_future(self.read(got, follow=True))
            leaving = asyncio.ensure_future(self._wait(lambda state: state is State.AWAY))
            try:
                await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    try:
                        reading.result()
                        return
                    except errors.HostError:
                        if self._kernel is None:
                            raise
            finally:
                for task in (reading, leaving):
                    task.cancel()
                await asyncio.gather(reading, leaving, return_exceptions=True)
            away(True)
            await asyncio.sleep(PAUSE)
            await self._wait(lambda state: state is not State.AWAY)
            away(False)

    async def read(self, got: Callable[[bytes], None], *, follow: bool) -> bool:
        """Have `got` called with what the journal has from `offset` on; whether the run goes on.

        Raises `SshpykError`.
        """
        from ..cli import remote
        from ..transport import jobs

        transport = remote.transport_to(self._destination)
        await transport.ensure(timeout=CONNECT)
        request: JournalRequest = {
            "do": "journal",
            "run": self.id,
            "offset": self.offset,
            "follow": follow,
        }
        async with jobs.Job(transport, self._python, request) as job:
            while "end" not in (answer := await job.answer()):
                data = str(answer["data"]).encode("latin-1", "replace")
                self.offset += len(data)
                got(data)
        return bool(answer["goes_on"])

    async def _wait(self, wanted: Callable[[State], bool]) -> None:
        """Wait until the kernel's state is one of those wanted; for ever where there is none."""
        changed = asyncio.Event()

        def told(status: Status) -> None:
            changed.set()

        forget = self._kernel.subscribe(told) if self._kernel is not None else lambda: None
        try:
            while self._kernel is None or not wanted(self._kernel.status.state):
                changed.clear()
                await changed.wait()
        finally:
            forget()

    async def forget(self) -> None:
        """Have the host remove what it has of the run. Raises `SshpykError`."""
        await ask(self._destination, self._python, {"do": "forget", "run": self.id})


async def ask(
    destination: Destination | Entrance | Allocation | ServerAddress, python: str, request: Any
) -> dict[str, Any]:
    """Run a job that answers once. On the I/O thread. Raises `SshpykError`."""
    from ..cli import remote

    transport = remote.transport_to(destination)
    return await remote.ask(transport, python, request, connect=CONNECT, timeout=ANSWER)
