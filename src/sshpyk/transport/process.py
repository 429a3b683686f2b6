"""A process of this machine whose pipes are those of a program on a host."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable

from ..ssh.command import end
from .base import Program

#: Bytes of a program read at once.
READ_SIZE = 256 * 1024

#: What the pipe from a program whose output is poured has room for, on Linux: each time that it is
#: full, both ends wait for the other to have its turn.
PIPE_SIZE = 1024 * 1024

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

    async def pour(self, take: Callable[[bytes], object]) -> None:
        # Past the reader, which costs two turns of the loop for each piece; and into one buffer,
        # for to get a new one of this size and give most of it back takes three system calls.
        transport = self._process._transport  # type: ignore[attr-defined]  # nothing public has it
        pipe = transport.get_pipe_transport(1)
        if pipe is None or pipe.is_closing():
            return
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        fd = pipe.get_extra_info("pipe").fileno()
        buffer = memoryview(bytearray(READ_SIZE))

        def on_readable() -> None:
            if ended.done():
                return
            try:
                size = os.readv(fd, [buffer])
            except BlockingIOError:
                return
            except OSError:
                size = 0
            try:
                if size:
                    take(bytes(buffer[:size]))
                else:
                    ended.set_result(None)
            except Exception as error:
                ended.set_exception(error)

        with contextlib.suppress(OSError, AttributeError):  # there is no such thing here
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        pipe.pause_reading()
        loop.add_reader(fd, on_readable)
        try:
            await ended
        finally:
            loop.remove_reader(fd)
            pipe.resume_reading()

    @property
    def has_taken_all(self) -> bool:
        assert self._process.stdin is not None
        return self._process.stdin.transport.get_write_buffer_size() == 0

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

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
