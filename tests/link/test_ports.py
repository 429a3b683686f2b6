"""The connection that a program here makes to a local port, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from sshpyk.link.log import KernelLog
from sshpyk.link.ports import LocalPort, PortProtocol, Ports, bind
from sshpyk.link.protocols import LocalEnd
from sshpyk.wire.frames import DATA, Frame
from sshpyk.wire.ports import END, Target, record
from sshpyk.wire.stream import Stream

TARGET = Target(8787)


class Owner:
    """A link with one stream, which nothing carries."""

    def __init__(self) -> None:
        self.stream = Stream(1, TARGET.channel)
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()

    def local_opened(self, local: LocalEnd) -> Stream:
        self.opened.set()
        return self.stream

    def local_wrote(self, stream: Stream, data: bytes) -> None:
        """Nobody reads it."""

    def local_has_room(self, stream: Stream) -> None:
        """There is nothing more."""

    def local_closed(self, local: LocalEnd) -> None:
        self.closed.set()


def test_a_program_that_resets_its_connection_in_the_moment_of_its_end() -> None:
    async def work() -> None:
        owner = Owner()
        log = KernelLog(logging.getLogger("test"), "0123", "here")
        ports = Ports("0123", "here", owner, log, lambda: None)
        port = LocalPort(ports, bind(0), TARGET)
        assert isinstance(port.local, int)
        program = socket.create_connection(("127.0.0.1", port.local))
        await asyncio.wait_for(owner.opened.wait(), 10)
        (connection,) = port.connections
        assert isinstance(connection, PortProtocol)
        program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        program.close()  # a reset, which the loop has not heard of yet
        owner.stream.receive(Frame(DATA, 1, 0, record(END)), 0.0)
        connection.deliver(0.0)
        await asyncio.wait_for(owner.closed.wait(), 10)
        assert not port.connections
        port.close()

    asyncio.run(work())
