"""Heartbeats of local clients, answered here: they would be sent over the network every second."""

from __future__ import annotations

import asyncio

from ..common.peers import is_stranger
from ..wire.zmtp import Reader, message_of

#: A greeting as ZMTP 3.0's REP sends it, and its READY.
_READY = b"\x05READY" + b"\x0bSocket-Type\x00\x00\x00\x03REP"
_HANDSHAKE = (
    b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    + b"\x04" + bytes([len(_READY)]) + _READY
)  # fmt: skip

#: Bytes of one heartbeat; Jupyter's have four.
LARGEST = 4096


class Heartbeat(asyncio.Protocol):
    """A local client's heartbeat connection: what comes goes back."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(keep=LARGEST)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if is_stranger(transport.get_extra_info("socket")):
            transport.abort()
            return
        self._transport = transport
        transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        transport, reader = self._transport, self._reader
        if transport is None:
            return
        offset = 0
        while offset < len(data):
            offset = reader.read(data, offset)
            if reader.is_opaque or reader.size > LARGEST:
                transport.abort()  # no heartbeat of Jupyter's
                return
            if reader.has_ended:
                transport.write(message_of(reader.frames or [b""]))
