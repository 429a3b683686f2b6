"""A carrier's turns: what it has to send goes out, however much its socket takes at once."""

from __future__ import annotations

import os
import socket
from typing import Any
from unittest import mock

from sshpyk.agent import loop
from sshpyk.agent.connections import TURN, CarrierConnection
from sshpyk.common.sockets import Socket
from sshpyk.wire.attachment import Attachment
from sshpyk.wire.frames import CHUNK, HEADER, FrameReader
from sshpyk.wire.ports import HEAD
from tests.agent.test_loop import Driver, Echo


def test_a_socket_that_takes_whole_turns_gets_all_of_them() -> None:
    """As loopback TCP does, of which the buffers are larger than a turn."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * TURN)
    driver = Driver()
    nobody: Any = mock.Mock()
    connection = CarrierConnection(driver.loop, Socket(fileno=one.detach()), nobody, nobody)
    attachment = Attachment("a", nobody, is_client=False)
    connection.attachment = attachment
    attachment.add(connection.carrier)
    data = os.urandom(3 * TURN)  # less than may be on the way from the beginning
    sent = len(data) + 3 * HEADER.size
    reader = Echo(driver.loop, Socket(fileno=other.detach()), driver.stop, sent)
    stream = attachment.control
    connection.carrier.carry(stream)
    attachment.write(stream, data, driver.loop.now())
    assert driver.run()
    assert b"".join(frame.payload for frame in FrameReader().feed(reader.data)) == data
    reader.close()
    connection.close()


def test_what_is_read_of_a_port_at_once_travels_in_one_frame() -> None:
    assert len(loop._buffer) + HEAD.size <= CHUNK
