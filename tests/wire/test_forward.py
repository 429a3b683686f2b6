"""The common suite through a real ssh forward from socket to socket, whose master is killed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.sshd import Sshd

from .check_stream import CHECKS
from .pair import Connection, Wire
from .sockets import SocketWire

pytestmark = pytest.mark.sshd


class Forward(SocketWire):
    """Connections through `ssh -O forward`; a cut kills the master, and another one follows."""

    def __init__(self, sshd: Sshd, directory: Path) -> None:
        super().__init__()
        self._ssh = ["ssh", "-F", str(sshd.ssh_config), "-S", str(directory / "master")]
        self._host = sshd.host
        self._local = directory / "local"
        self._remote = directory / "remote"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._remote))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._start()

    def dial(self) -> Connection:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(self._local))
        except OSError:
            sock.close()
            raise
        return self.add(sock)

    def accept(self) -> list[Connection]:
        new: list[Connection] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                new.append(self.add(self._listener.accept()[0]))
        return new

    def cut(self) -> None:
        self._master.kill()
        self._master.wait()
        self._start()

    def listening(self) -> list[socket.socket]:
        return [self._listener]

    def close(self) -> None:
        super().close()
        self._listener.close()
        self._master.kill()
        self._master.wait()

    def _start(self) -> None:
        # A killed master leaves its sockets behind.
        for path in (Path(self._ssh[-1]), self._local):
            path.unlink(missing_ok=True)
        self._master = subprocess.Popen(
            [*self._ssh, "-M", "-N", self._host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        forward = ["-O", "forward", "-L", f"{self._local}:{self._remote}", self._host]
        while subprocess.run([*self._ssh, *forward], capture_output=True).returncode:
            assert self._master.poll() is None, "the master has ended"


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    with Sshd() as sshd:
        yield sshd


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_through_a_forward(
    check: Callable[[Wire], None], server: Sshd, short_tmp: Path
) -> None:
    with contextlib.closing(Forward(server, short_tmp)) as wire:
        check(wire)
