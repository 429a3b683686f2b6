"""Jupyter clients that connect while nobody will serve them any more."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket

from sshpyk.link.listener import Listener
from sshpyk.link.log import KernelLog

LOG = KernelLog(logging.getLogger("test"), "kernel", "host")


class Ended(asyncio.Protocol):
    """Ends each connection at once, and tells that there was one."""

    opened = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Ended.opened += 1
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def test_a_listener_that_closes_while_clients_come_loses_none_of_them() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        for turns in range(4):
            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            listener = Listener(sock, Ended, LOG)
            client = socket.create_connection(sock.getsockname(), 10)
            client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            listener.close()
            # It hears of an end, by a reset where it had not been taken.
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(loop.sock_recv(client, 1), 10) == b""
            client.close()

    asyncio.run(work())
    gc.collect()  # a connection that was left open would warn, which is an error here
    assert Ended.opened


def test_a_process_that_may_open_nothing_more_serves_its_clients_later() -> None:
    class Full(socket.socket):
        is_full = True

        def accept(self) -> tuple[socket.socket, object]:
            if self.is_full:
                self.is_full = False
                raise OSError(24, "Too many open files")
            return super().accept()

    async def work() -> bytes:
        sock = Full()
        sock.bind(("127.0.0.1", 0))
        listener = Listener(sock, Ended, LOG)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        try:
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            listener.close()

    assert asyncio.run(work()) == b""
