"""A local socket at which Jupyter clients connect.

Not an `asyncio.Server`: one that is closed while it takes a connection loses that, open and owned
by nobody, and its client waits for an answer for ever.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .log import KernelLog

#: Connections that wait to be taken: clients of a whole Jupyter Server may come at once.
BACKLOG = 100

#: Seconds until the next try, where this process may open nothing more.
NO_MORE_FILES = 1.0


class Listener:
    """Gives each connection to `sock`, which is bound, to a new protocol, until `close`."""

    def __init__(
        self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol], log: KernelLog
    ) -> None:
        self._sock = sock
        self._protocol = protocol
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._later: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(BACKLOG)
        self._read()

    def _read(self) -> None:
        self._later = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # whoever it was has gone
        except OSError as error:
            self._log.warning("! a local client must wait: %s", error)
            self._loop.remove_reader(self._sock)
            self._later = self._loop.call_later(NO_MORE_FILES, self._read)
            return
        connection.setblocking(False)
        # It is on its way in for a turn or two of the loop, and arrives though `close` comes first.
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Take no more; those that were taken stay."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
