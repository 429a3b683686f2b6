"""The client's streams, where what they wait for and what ends them come together."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from unittest import mock

from sshpyk.link.log import KernelLog
from sshpyk.link.protocols import LocalProtocol
from sshpyk.link.streams import Streams
from sshpyk.wire.channels import AGENT
from tests.lab.dialers import DirectoryDialer


def test_a_client_that_goes_while_its_carrier_is_dialled(short_tmp: Path) -> None:
    """As heartbeats do: nothing is sent for it, and no carrier stays."""

    async def work() -> list[bytes]:
        said: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said.put_nowait(await reader.read(-1))
            writer.close()

        log = KernelLog(logging.getLogger("test"), "kernel", "host")
        streams = Streams(mock.Mock(), log, "token")
        servers = [
            await asyncio.start_unix_server(take, short_tmp / channel) for channel in (AGENT, "hb")
        ]
        streams._dialer = DirectoryDialer(short_tmp)
        streams._control_carrier = await streams._dial(streams.attachment.control)
        here, there = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, local = await loop.create_unix_connection(
            lambda: LocalProtocol(streams, "hb", log), sock=here
        )
        stream = local.stream
        assert stream is not None
        local.data_received(b"a greeting")
        [dial] = streams._dials.values()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # on its way now
        streams.local_closed(local)
        await dial
        assert streams.attachment.carriers == []  # the control stream's has no welcome yet
        assert stream.carriers == 0
        streams.close()
        there.close()
        for server in servers:
            server.close()
        return [await said.get() for _ in servers]

    assert not any(b"hb" in text for text in asyncio.run(asyncio.wait_for(work(), 30)))
