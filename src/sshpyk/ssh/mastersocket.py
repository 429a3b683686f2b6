"""What a master is asked through its control socket, without a process of ssh for it.

It is the protocol that `ssh -O` speaks: OpenSSH's PROTOCOL.mux, version 4, which has not changed
since OpenSSH 5.4 (2010); forwards of unix sockets came with 6.7. A message is its length and its
type, then numbers of four bytes, and texts behind their length.
"""

from __future__ import annotations

import asyncio
import struct

#: What both ends begin with, and the version that follows it.
HELLO, VERSION = 0x00000001, 4

#: Requests; each has a number, which its answer repeats.
TERMINATE, OPEN_FORWARD, CLOSE_FORWARD, STOP_LISTENING = (
    0x10000005,
    0x10000006,
    0x10000007,
    0x10000009,
)

#: The one answer that is no refusal.
OK = 0x80000001

#: A forward from here to the host, and the port of what is no port but a unix socket's path.
LOCAL = 1
UNIX_SOCKET = 0xFFFFFFFE

#: Bytes of the longest message that is read: none that we ask for has an answer as long.
LONGEST = 256 * 1024

_NUMBER = struct.Struct(">I")

#: A request: its type and what follows its number.
Request = tuple[int | str, ...]


class Refused(Exception):
    """The master does not do what it is asked."""


def message(*fields: int | str) -> bytes:
    """The bytes of a message that consists of these."""
    content = b"".join(map(_field, fields))
    return _NUMBER.pack(len(content)) + content


def _field(field: int | str) -> bytes:
    if isinstance(field, int):
        return _NUMBER.pack(field)
    text = field.encode("utf-8", "surrogateescape")
    return _NUMBER.pack(len(text)) + text


def forward(kind: int, local: str, remote: str | int) -> Request:
    """The request to open or close, as `kind` says, a forward from the unix socket `local` to
    `remote`: a path on the host, or a port of its loopback."""
    to: Request = (remote, UNIX_SOCKET) if isinstance(remote, str) else ("127.0.0.1", remote)
    return (kind, LOCAL, local, UNIX_SOCKET, *to)


async def ask(path: str, *requests: Request) -> None:
    """Have the master that listens at `path` do all of `requests`, and wait until it has.

    Raises `Refused` where it does not do one of them, after it was asked for all; OSError or
    EOFError where there is none, or it ends meanwhile.
    """
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(message(HELLO, VERSION))
        for number, (kind, *fields) in enumerate(requests):
            writer.write(message(kind, number, *fields))
        await writer.drain()
        if await _read(reader) != HELLO:
            raise Refused("it is no master of OpenSSH")
        refusals = 0
        for kind, *_ in requests:
            try:
                refusals += await _read(reader) != OK
            except EOFError:
                if kind != TERMINATE:
                    raise
                # It mostly ends before its answer has gone out.
        if refusals:
            raise Refused("it does not do what it is asked")
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> int:
    """The type of the next message."""
    (size,) = _NUMBER.unpack(await reader.readexactly(_NUMBER.size))
    if not _NUMBER.size <= size <= LONGEST:
        raise Refused("it is no master of OpenSSH")
    (kind,) = _NUMBER.unpack_from(await reader.readexactly(size))
    return int(kind)
