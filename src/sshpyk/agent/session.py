"""The launch's session as a carrier: the first that the client has.

What comes on stdin are its bytes. On stdout others may speak as well, such as what a start-up file
has left running: so there they travel as answers do, {"carried": ...} in hexadecimal digits.
"""

from __future__ import annotations

import os
import zlib
from _socket import AF_UNIX

from .boot import line_of
from .connections import CarrierConnection
from .loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

    from ..wire.frames import Data
    from .door import Door
    from .loop import Loop


class Pipes:
    """stdin and stdout, as far as a connection knows sockets."""

    family = AF_UNIX  # nothing waits in them to be sent together with more

    def setblocking(self, flag: bool) -> None:
        """Whether they wait."""
        os.set_blocking(0, flag)
        os.set_blocking(1, flag)

    def recv_into(self, buffer: Any) -> int:
        """Read what is there."""
        return os.readv(0, [buffer])

    def send(self, data: Any) -> int:
        """Write what stdout takes."""
        return os.write(1, data)

    def sendmsg(self, parts: Any) -> int:
        """The same, of several."""
        return os.writev(1, parts)

    def close(self) -> None:
        """They are closed by whoever is told of the end."""


class SessionConnection(CarrierConnection):
    """A carrier by the pipes of the session; `on_over` is called when it has ended.

    `ahead` is what came on it together with the launch's request.
    """

    def __init__(self, loop: Loop, door: Door, ahead: str, on_over: Callable[[], None]) -> None:
        self._on_over = on_over
        pipes: Any = Pipes()
        super().__init__(loop, pipes, door, door)
        self.on_data(zlib.decompress(bytes.fromhex(ahead)))

    def send(self, parts: Sequence[Data]) -> bool:
        """Send `parts`; whether more may follow at once."""
        return super().send([line_of(carried=b"".join(parts).hex())])

    def _watch(self) -> None:
        if not self.is_closed:
            self.loop.watch(0, READ if self._reading else 0, self._on_ready)
            self.loop.watch(1, WRITE if self.is_blocked else 0, self._on_ready)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.loop.watch(0, 0, self._on_ready)
            self.loop.watch(1, 0, self._on_ready)
            self._on_over()
