"""A process of this machine whose pipes are those of a program on a host."""

from __future__ import annotations

import asyncio

from ..ssh.command import end
from .base import Program

#: Bytes of a program read at once.
READ_SIZE = 256 * 1024

#: Bytes of a program's stderr that are kept for an error message.
KEPT_STDERR = 64 * 1024


class Process(Program):
    """The program that a child of ours is, or leads to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._has_answered = False
        self._errors = asyncio.create_task(self._read_errors())

    @staticmethod
    async def start(argv: list[str]) -> asyncio.subprocess.Process:
        """The child, in a session of its own. Raises OSError."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )

    async def read(self) -> bytes:
        assert self._process.stdout is not None
        data = await self._process.stdout.read(READ_SIZE)
        self._has_answered = self._has_answered or bool(data)
        return data

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def drain(self) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.drain()

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self.stderr = (self.stderr + data)[-KEPT_STDERR:]

    async def wait(self) -> int:
        status = await self._process.wait()
        await self._errors
        return status

    async def close(self) -> None:
        """End it, if it still runs."""
        await end(self._process)
        self._errors.cancel()
        await asyncio.wait([self._errors])
        if self._process.stdin is not None:
            self._process.stdin.close()
