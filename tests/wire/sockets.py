"""What wires of real sockets have in common."""

from __future__ import annotations

import select
import socket
import time

from .pair import Connection


class SocketConnection:
    """One end of a connection that is a socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock

    def send(self, data: bytes) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> bytes | None:
        try:
            return self.socket.recv(65536)
        except BlockingIOError:
            return None

    def close(self) -> None:
        self.socket.close()


class SocketWire:
    """Sockets and the real clock; who derives from it says how to dial, accept and cut."""

    def __init__(self) -> None:
        self.connections: list[SocketConnection] = []

    @property
    def now(self) -> float:
        return time.monotonic()

    def dial(self) -> Connection:
        raise NotImplementedError

    def accept(self) -> list[Connection]:
        raise NotImplementedError

    def cut(self) -> None:
        raise NotImplementedError

    def listening(self) -> list[socket.socket]:
        """Sockets that may have a new connection."""
        return []

    def wait(self, seconds: float) -> None:
        self.connections = [c for c in self.connections if c.socket.fileno() >= 0]
        select.select([c.socket for c in self.connections] + self.listening(), [], [], seconds)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()

    def add(self, sock: socket.socket) -> SocketConnection:
        """A connection on `sock`, which is waited for and closed at the end."""
        connection = SocketConnection(sock)
        self.connections.append(connection)
        return connection
