"""A proxy in front of a server that does to its connections what proxies do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

from tests.lab.link import Link

#: Bytes that it takes at once, and of its longest piece.
BUFFER = 256 * 1024
PIECE = 20_000

#: So often does it cut: where a connection takes longer than the next pause nothing would get on.
MOST_CUTS = 4


class Proxy(Link):
    """Holds what comes for up to `hold` seconds, gives it on in odd pieces, and cuts a connection
    on which the server has said nothing for `idle` seconds, where that is set: how often that was
    is `idled`.
    """

    def __init__(self, target_port: int, *, hold: float = 0.15) -> None:
        self._hold = hold
        self.idle: float | None = None  # from the next that is read on
        self._random = random.Random(13)
        self.idled = 0
        super().__init__(target_port)

    async def _read(self, source: Any, queue: Any) -> None:
        is_server = source.getpeername()[1] == self.target_port
        data = b"begin"
        while data:
            try:
                receiving = self._loop.sock_recv(source, BUFFER)
                data = await asyncio.wait_for(receiving, self.idle if is_server else None)
            except asyncio.TimeoutError:
                self.idled += 1
                raise ConnectionResetError from None
            await asyncio.sleep(self._random.uniform(0, self._hold))
            with contextlib.suppress(BlockingIOError):
                data += source.recv(BUFFER)  # what has come meanwhile; its end comes once more
            left = data
            while left:
                size = self._random.randint(1, PIECE)
                await queue.put((self._loop.time(), left[:size]))
                left = left[size:]
        await queue.put((self._loop.time(), b""))

    @contextlib.contextmanager
    def cutting(self) -> Iterator[list[int]]:
        """Cut all connections a few times; how many there were each time."""
        cuts: list[int] = []
        over = threading.Event()

        def work() -> None:
            for _ in range(MOST_CUTS):
                if over.wait(self._random.uniform(0.2, 1.5)):
                    return
                cuts.append(self.cut())

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield cuts
        finally:
            over.set()
            thread.join()


class Stumbling(Link):
    """Resets the first connection of each address that is asked for with GET, websockets with what
    comes after their handshake; `stumbled` has those addresses."""

    def __init__(self, target_port: int) -> None:
        self.stumbled: list[str] = []
        super().__init__(target_port)

    async def _read(self, source: Any, queue: Any) -> None:
        if source.getpeername()[1] != self.target_port:
            data = await self._loop.sock_recv(source, BUFFER)
            method, address = data.split(b" ")[:2] if data else (b"", b"")
            path = address.split(b"?")[0].decode()
            if method == b"GET" and path not in self.stumbled:
                self.stumbled.append(path)
                if path.endswith("/channels"):
                    await queue.put((self._loop.time(), data))
                    await self._loop.sock_recv(source, BUFFER)
                raise ConnectionResetError
            await queue.put((self._loop.time(), data))
            if not data:
                return
        await super()._read(source, queue)


class Swallowing(Link):
    """Cuts the connection on which the server first says that it has interrupted a kernel, in place
    of that answer; `swallowed` says how often."""

    def __init__(self, target_port: int) -> None:
        self._is_next = False
        self.swallowed = 0
        super().__init__(target_port)

    async def _read(self, source: Any, queue: Any) -> None:
        data = await self._loop.sock_recv(source, BUFFER)
        if source.getpeername()[1] == self.target_port:
            if self._is_next and data.startswith(b"HTTP/1.1 204"):
                self._is_next = False
                self.swallowed += 1
                raise ConnectionResetError
        elif not self.swallowed and b"/interrupt HTTP/1.1" in data:
            self._is_next = True
        await queue.put((self._loop.time(), data))
        if data:
            await super()._read(source, queue)
