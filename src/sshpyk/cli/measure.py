"""How well bytes pass through forwards to a host, or a relay: round trip and throughput."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import errors
from ..agent.inspect_path import SIZE
from ..aio import within
from ..private import runtime_directory
from ..transport.jobs import Job
from ..transport.openssh import OpenSSH
from ..transport.relay import Relay, RelayDialer
from ..wire.channels import AGENT

if TYPE_CHECKING:
    from ..transport.base import Transport
    from ..wire.requests import MeasureRequest

#: Seconds for a connection to say its first word.
FIRST_WORD = 5.0

#: How many round trips are measured, and for how many seconds throughput is.
ROUND_TRIPS = 20
THROUGHPUT_FOR = 1.0


@dataclass
class Measured:
    """Which kinds of forwards work, or whether a relay does, the median round trip in seconds,
    bytes a second."""

    unix: bool = False
    tcp: bool = False
    relay: bool = False
    round_trip: float = 0.0
    throughput: float = 0.0


async def measure(transport: Transport, python: str, pythonhome: str | None) -> Measured:
    """Measure; only ssh has forwards. Raises `SshpykError` where the host can't do its part."""
    token = secrets.token_hex(16)
    request: MeasureRequest = {"do": "measure", "token": token}
    measured = Measured()
    async with Job(transport, python, request, pythonhome) as job:
        listening = (await job.answer())["listening"]
        targets = {family: listening[family] for family in ("unix", "tcp")}
        if isinstance(transport, OpenSSH):
            await _by_forwards(transport, targets, token, measured)
        if not measured.unix and not measured.tcp:
            await _by_relay(transport, python, pythonhome, listening["unix"], token, measured)
    return measured


async def _by_forwards(
    transport: OpenSSH, targets: dict[str, str | int], token: str, measured: Measured
) -> None:
    with tempfile.TemporaryDirectory(dir=runtime_directory(), prefix="") as directory:
        for family, target in targets.items():
            pairs = [(os.path.join(directory, family), target)]
            if not await transport.master.forward(pairs):
                continue
            try:
                connection = await asyncio.open_unix_connection(pairs[0][0])
                works = await _through(*connection, token, measured)
            finally:
                await transport.master.cancel(pairs)
            setattr(measured, family, works)


async def _by_relay(
    transport: Transport,
    python: str,
    pythonhome: str | None,
    path: str,
    token: str,
    measured: Measured,
) -> None:
    with contextlib.suppress(errors.NoRoom):
        relay = await Relay.begin(transport, python, pythonhome)
        dialer = RelayDialer(relay, {AGENT: path})
        try:
            connection = await _dial(dialer)
            measured.relay = await _through(*connection, token, measured)
        finally:
            await dialer.close()


class _Protocol(asyncio.StreamReaderProtocol):
    """One that tells its transport."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        super().connection_made(transport)


async def _dial(dialer: RelayDialer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through a relay."""
    reader = asyncio.StreamReader()
    protocol = _Protocol(reader)
    await dialer.dial(AGENT, lambda: protocol)
    loop = asyncio.get_running_loop()
    return reader, asyncio.StreamWriter(protocol.transport, protocol, reader, loop)


async def _through(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, measured: Measured
) -> bool:
    """Say hello through a connection, and measure on the first that works."""
    try:
        writer.write(token.encode() + b"\n" + b"e")
        first = await within(FIRST_WORD, reader.read(1))
        if first != b"e":
            return False
        if not measured.round_trip:
            trips = []
            for _ in range(ROUND_TRIPS):
                begun = time.monotonic()
                writer.write(b"e")
                await within(FIRST_WORD, reader.readexactly(1))
                trips.append(time.monotonic() - begun)
            measured.round_trip = statistics.median(trips)
            measured.throughput = await _throughput(reader, writer)
        return True
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _throughput(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
    begun = time.monotonic()
    received = 0
    writer.write(b"ggg")  # always some of it on the way
    while (passed := time.monotonic() - begun) < THROUGHPUT_FOR:
        rest = THROUGHPUT_FOR - passed + FIRST_WORD
        data = await within(rest, reader.read(1 << 18))
        if not data:
            break
        if (received + len(data)) // SIZE > received // SIZE:
            writer.write(b"g")
        received += len(data)
    return received / (time.monotonic() - begun)
