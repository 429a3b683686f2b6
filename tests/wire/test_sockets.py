"""The common suite over real sockets, which the wire closes under the feet of both ends."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import pytest

from .check_stream import CHECKS
from .pair import Connection, Wire
from .sockets import SocketConnection, SocketWire


class Socketpairs(SocketWire):
    """A socketpair for each connection."""

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[SocketConnection, SocketConnection]] = []
        self._new: list[SocketConnection] = []

    def dial(self) -> Connection:
        here, there = socket.socketpair()
        pair = self.add(here), self.add(there)
        self._pairs.append(pair)
        self._new.append(pair[1])
        return pair[0]

    def accept(self) -> list[Connection]:
        new: list[Connection] = list(self._new)
        self._new.clear()
        return new

    def cut(self) -> None:
        """The client's end is closed, the agent's, both are shut, in turn."""
        for number, pair in enumerate(self._pairs):
            if number % 3 == 2:
                with contextlib.suppress(OSError):
                    pair[0].socket.shutdown(socket.SHUT_RDWR)
            else:
                pair[number % 3].close()
        self._pairs.clear()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_on_socketpairs(check: Callable[[Wire], None]) -> None:
    wire = Socketpairs()
    with contextlib.closing(wire):
        check(wire)
