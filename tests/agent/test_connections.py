"""A carrier's turns: what it has to send goes out, however much its socket takes at once."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from sshpyk.agent.connections import TURN, CarrierConnection
from sshpyk.common.sockets import Socket
from sshpyk.wire.frames import HEADER, FrameReader
from sshpyk.wire.stream import Stream
from tests.agent.test_loop import Driver, Echo


def test_a_socket_that_takes_whole_turns_gets_all_of_them() -> None:
    """As loopback TCP does, of which the buffers are larger than a turn."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * TURN)
    driver = Driver()
    agent: Any = SimpleNamespace(loop=driver.loop)
    carrier = CarrierConnection(agent, Socket(fileno=one.detach()))
    stream = Stream(1, "iopub")
    data = os.urandom(3 * TURN)  # less than may be on the way from the beginning
    stream.write(data)
    carrier.carrier.carry(stream)
    sent = len(data) + 3 * HEADER.size
    reader = Echo(driver.loop, Socket(fileno=other.detach()), driver.stop, sent)
    carrier.pump(driver.loop.now())
    assert driver.run()
    assert b"".join(frame.payload for frame in FrameReader().feed(reader.data)) == data
    reader.close()
    carrier.close()
