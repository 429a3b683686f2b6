"""What is asked on a control socket, of masters that answer as they should and of others."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import pytest

from sshpyk.ssh.mastersocket import (
    OPEN_FORWARD,
    STOP_LISTENING,
    TERMINATE,
    Refused,
    ask,
    forward,
    message,
)

OK, DENIED = 0x80000001, 0x80000002
HELLO = message(1, 4)


def test_a_forward_as_openssh_writes_it() -> None:
    """As its PROTOCOL.mux has it; tests/test_costs.py asks a real one."""
    kind, *rest = forward(OPEN_FORWARD, "/local", "/there")
    content = struct.pack(">4I", 0x10000006, 7, 1, 6) + b"/local" + b"\xff\xff\xff\xfe"
    content += struct.pack(">I", 6) + b"/there" + b"\xff\xff\xff\xfe"
    assert message(kind, 7, *rest) == struct.pack(">I", len(content)) + content
    assert forward(OPEN_FORWARD, "/local", 22)[-2:] == ("127.0.0.1", 22)


async def asked(path: Path, says: bytes) -> bytes:
    """Ask a peer that says this, whatever it is asked, and then nothing more; what it heard."""
    heard = b""
    is_heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(says)
        writer.write_eof()
        heard = await reader.read()
        writer.close()
        is_heard.set()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        await ask(str(path), (STOP_LISTENING,), (TERMINATE,))
        await is_heard.wait()
    return heard


@pytest.mark.parametrize("last", [message(OK, 1), b""], ids=["", "ends before it says so"])
def test_all_are_asked_at_once(short_tmp: Path, last: bytes) -> None:
    says = HELLO + message(OK, 0) + last
    heard = asyncio.run(asyncio.wait_for(asked(short_tmp / "master", says), 10))
    assert heard == HELLO + message(STOP_LISTENING, 0) + message(TERMINATE, 1)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (HELLO + message(DENIED, 0, "no") + message(OK, 1), Refused),
        (HELLO + message(OK, 0) + message(DENIED, 1, "no"), Refused),
        (HELLO, EOFError),
        (b"", EOFError),
        (b"SSH-2.0-something else\r\n", Refused),
        (message(2, 4), Refused),
        (b"\0\0\0\0", Refused),
    ],
)
def test_all_else_is_an_error(short_tmp: Path, says: bytes, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        asyncio.run(asyncio.wait_for(asked(short_tmp / "master", says), 10))


def test_where_there_is_no_master(short_tmp: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        asyncio.run(ask(str(short_tmp / "none"), (TERMINATE,)))
