"""The host's side of a connection to a port."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import pytest

from sshpyk.agent.loop import Loop
from sshpyk.agent.ports import PortConnection
from sshpyk.wire.ports import Target

EXCHANGES = 50


class Client:
    """Whoever has the other end of the stream, which answers each piece with the next request."""

    unacknowledged = 0

    def __init__(self) -> None:
        self.attachment = self
        self.connection: PortConnection | None = None
        self.quick: list[int] = []

    def most_waiting(self, stream: Any) -> int:
        return 1

    def write(self, stream: Any, record: bytes, now: float) -> None:
        assert self.connection is not None
        option = socket.IPPROTO_TCP, socket.TCP_QUICKACK
        self.quick.append(self.connection.socket.getsockopt(*option))
        self.connection.send([b"request"])
        self.connection.loop.running = len(self.quick) < EXCHANGES


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such option")
def test_what_comes_is_acknowledged_at_once() -> None:
    """Else a program that writes small pieces waits for 40 ms with each second one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            program, _ = listener.accept()
            with program:
                for _ in range(EXCHANGES):
                    program.sendall(b"answer")
                    assert program.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        loop = Loop(lambda now: now + 10.0, lambda: None)
        client = Client()
        stream: Any = client
        client.connection = PortConnection(loop, Target(listener.getsockname()[1]), stream, stream)
        loop.run()
        thread.join()
        client.connection.close()
    assert client.quick == [1] * EXCHANGES
