"""The first carrier of a link: the session of its launch, until there are others."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors

if TYPE_CHECKING:
    from ..transport.base import Program
    from ..transport.jobs import Job
    from .protocols import CarrierProtocol


class FirstCarrier(asyncio.Transport):
    """The session of a launch as the connection of `protocol`.

    What is written before the launch travels with its request: see `ahead`. `on_abort` is called
    when the session is to end at once.
    """

    def __init__(self, protocol: CarrierProtocol) -> None:
        super().__init__()
        self.is_over = False
        self.ended = asyncio.Event()  # set when nothing more comes
        self.error: errors.SshpykError | None = None  # for which it has ended
        self.on_abort: Callable[[], object] | None = None
        self.protocol = protocol
        self._ahead = b""
        self._program: Program | None = None
        self._writes = True
        protocol.connection_made(self)

    @property
    def ahead(self) -> str:
        """What was written by now, for the request of a launch."""
        return zlib.compress(self._ahead, 9).hex()

    async def carry(self, job: Job) -> None:
        """Carry by the launch `job`, which has answered, until it says nothing more."""
        self._program = job.program
        try:
            while "carried" in (answer := await job.answer()):
                self.protocol.data_received(bytes.fromhex(answer["carried"]))
        except errors.SshpykError as error:
            self.error = error
        finally:
            self.is_over = True
            self.ended.set()
            self.protocol.connection_lost(None)

    def end(self) -> None:
        """Send nothing more; what the other end has sent still comes."""
        if self._writes and self._program is not None:
            self._program.end_input()
        self._writes = False

    # -- as asyncio's transports do --------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It never says that it is full: it carries for a moment only."""

    def is_closing(self) -> bool:
        return self.is_over

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._program is None:
            self._ahead += data
        elif self._writes:
            self._program.write(bytes(data))

    def close(self) -> None:
        self.end()

    def abort(self) -> None:
        if not self.is_over:
            self.is_over = True
            if self.on_abort is not None:
                self.on_abort()
