"""The job "measure": something to connect to, for looking at forwards and how fast they are.

It gets a "token", and answers {"listening": {"unix": path, "tcp": port}}. Whoever connects says
the token and a newline first; then each "e" is answered by an "e", and "g" by `SIZE` bytes. It
ends, and removes its socket, when stdin does.
"""

from __future__ import annotations

import hmac
import os
import socket
import sys
import threading

from ..wire.channels import AGENT
from . import records
from .boot import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

SIZE = 1 << 20

#: Seconds that nobody may say anything.
PATIENCE = 30.0


def run(request: Dict[str, Any]) -> None:
    """Listen, answer, and wait for stdin's end."""
    token = request["token"].encode("ascii") + b"\n"
    directory = records.make_sockets_directory()
    try:
        path = os.path.join(directory, AGENT + ".sock")  # a relay connects to no other names
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(path)
        tcp = socket.socket()
        tcp.bind(("127.0.0.1", 0))
        for listener in (unix, tcp):
            listener.listen(8)
            threading.Thread(target=accept, args=(listener, token), daemon=True).start()
        answer(listening={"unix": path, "tcp": tcp.getsockname()[1]})
        sys.stdin.buffer.read()
    finally:
        records.remove(directory)


def accept(listener: socket.socket, token: bytes) -> None:
    """Serve whoever comes, one after another."""
    while True:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        try:
            serve(connection, token)
        except OSError:
            pass  # who has gone, or never said anything
        finally:
            connection.close()


def serve(connection: socket.socket, token: bytes) -> None:
    """Answer one connection until it ends."""
    said = b""
    while len(said) < len(token):
        data = connection.recv(len(token) - len(said))
        if not data:
            return
        said += data
    if not hmac.compare_digest(said, token):
        return
    block = bytes(SIZE)
    while True:
        word = connection.recv(1)
        if word == b"e":
            connection.sendall(word)
        elif word == b"g":
            connection.sendall(block)
        else:
            return
