"""The open ports of this user's processes, for who lists or closes them.

A process that has open ports listens on a socket in the private directory, and answers a line of
JSON with one: no file has to be kept true, and what a process that was killed left there answers
nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import json
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Protocol

from .. import errors
from ..aio import within
from ..private import runtime_directory
from .listener import Listener

if TYPE_CHECKING:
    from .log import KernelLog

    class Listed(Protocol):
        """An open port: see `sshpyk.link.ports.LocalPort`."""

        local: int | str

        def to_json(self) -> dict[str, Any]:
            """What is told of it."""

        def end(self) -> None:
            """Close it."""


#: Seconds for another process to answer; one that was stopped does not.
ANSWER_WITHIN = 2.0

#: Bytes of a request, which names one port.
LONGEST = 4096

_open: list[Listed] = []
_listener: Listener | None = None
_path = ""


def add(port: Listed, log: KernelLog) -> None:
    """A port is open. On the I/O thread, as all of this."""
    global _listener, _path
    _open.append(port)
    if _listener is not None:
        return
    try:
        name = f"ports-{os.getpid()}-{secrets.token_hex(4)}.sock"
        _path = os.path.join(runtime_directory(), name)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(_path)
    except (OSError, errors.SettingsError) as error:
        log.warning("! open ports can't be listed by others: %s", error)
        return
    _listener = Listener(sock, _Answer, log)


def remove(port: Listed) -> None:
    """A port is closed."""
    global _listener
    if port in _open:
        _open.remove(port)
    if not _open and _listener is not None:
        _listener.close()
        _listener = None
        with contextlib.suppress(OSError):
            os.unlink(_path)


class _Answer(asyncio.Protocol):
    """The connection of somebody who asks, and has got in to the directory."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        if b"\n" in self._data or len(self._data) > LONGEST:
            answer: list[dict[str, Any]] = []
            with contextlib.suppress(ValueError, TypeError, LookupError):
                answer = _answer(json.loads(self._data))
            self._transport.write(json.dumps(answer).encode("ascii") + b"\n")
            self._transport.close()


def _answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    wanted = request.get("close")
    if wanted is None:
        return [port.to_json() for port in _open]
    closed = [port for port in list(_open) if port.local == wanted]
    told = [port.to_json() for port in closed]
    for port in closed:
        port.end()
    return told


async def ask_all(close: int | str | None = None) -> list[dict[str, Any]]:
    """The open ports of all processes; those that are closed now, where `close` names a local one.

    They are as `LocalPort.to_json` has them.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(runtime_directory()), "ports-*.sock")))
    answers = await asyncio.gather(*(_ask(path, close) for path in paths))
    return [port for answer in answers for port in answer]


async def _ask(path: str, close: int | str | None) -> list[dict[str, Any]]:
    try:
        return await within(ANSWER_WITHIN, _talk(path, close))
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)  # its process was killed
    except (OSError, ValueError):
        pass  # it ends just now, or was stopped
    return []


async def _talk(path: str, close: int | str | None) -> list[dict[str, Any]]:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(json.dumps({"close": close}).encode("ascii") + b"\n")
        answer: list[dict[str, Any]] = json.loads(await reader.read())
        return answer
    finally:
        writer.close()
