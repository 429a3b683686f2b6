"""What tests put at the two ends of a connection: ssh commands, and something to connect to."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

TIMEOUT = 30.0  # seconds, for whatever takes less than one when it works


class Server(Protocol):
    """What `Sandbox` and `Sshd` have in common."""

    host: str

    @property
    def ssh_config(self) -> Path: ...


def ssh(
    server: Server, *arguments: str, input: bytes = b"", timeout: float = TIMEOUT
) -> subprocess.CompletedProcess[bytes]:
    """Run `ssh arguments[0] … host arguments[-1]`: the last argument is the remote command."""
    *options, command = arguments
    return subprocess.run(
        ["ssh", "-F", str(server.ssh_config), *options, server.host, command],
        input=input,
        capture_output=True,
        timeout=timeout,
    )


class Master:
    """An ssh ControlMaster for `server`, our own child: `process` ends when its connection does.

    `directory` is where its control socket will be: a short path.
    """

    def __init__(self, server: Server, directory: Path, *options: str) -> None:
        self.server = server
        self.path = directory / "master"
        self._command = ["ssh", "-F", str(server.ssh_config), "-S", str(self.path)]
        # It says when it is ready: LocalCommand runs once it is logged in and its socket listens.
        ready = ("-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready")
        self.process = subprocess.Popen(
            [*self._command, "-M", "-N", *ready, *options, server.host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(self.process.communicate(timeout=TIMEOUT)[1].decode())

    def __enter__(self) -> Master:
        return self

    def __exit__(self, *exc: object) -> None:
        # Not SIGTERM: ssh 9.2 misses one that comes between its look at the flag and its waiting.
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)

    def exit(self) -> str:
        """Tell it to end; returns what it had to say on stderr, all in all."""
        command = [*self._command, "-O", "exit", self.server.host]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
        return self.process.communicate(timeout=TIMEOUT)[1].decode()

    def run(self, command: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command in a session of this connection, never on one of its own."""
        return ssh(
            self.server, "-S", str(self.path), "-o", "ProxyCommand=false", command, input=input
        )

    def forward(self, local: str, remote: str) -> subprocess.CompletedProcess[bytes]:
        """Add the forward `local:remote`, each a unix socket's path or `address:port`."""
        command = [*self._command, "-O", "forward", "-L", f"{local}:{remote}", self.server.host]
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT)


@contextlib.contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP port of ours, which is the value; each connection is given to `handle` in a thread.

    `handle` may just raise OSError; its socket is closed after it, and reset when this block ends.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        while True:
            connection = listener.accept()[0]
            if done:
                connection.close()
                return
            accepted.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    done = False
    accepting = threading.Thread(target=accept)
    accepting.start()
    port: int = listener.getsockname()[1]
    try:
        yield port
    finally:
        done = True
        socket.create_connection(("127.0.0.1", port), TIMEOUT).close()  # wakes it
        accepting.join()
        listener.close()
        for connection in accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def echo(connection: socket.socket) -> None:
    """A `handle` for `listening`: send back everything, then end."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def connect(port: int) -> socket.socket:
    """A connection to a port of this machine, on which nothing waits longer than `TIMEOUT`."""
    return socket.create_connection(("127.0.0.1", port), TIMEOUT)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes; raises EOFError when there are fewer."""
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {size} bytes")
        data += more
    return bytes(data)


def exchange(port: int, data: bytes) -> bytes:
    """Send `data` to an echoing port and the end after it; returns all that came back."""
    with connect(port) as connection:

        def send() -> None:
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        back = bytearray()
        while more := connection.recv(1 << 16):
            back += more
        sending.join()
        return bytes(back)


def free_port() -> int:
    """A port that nobody listens on, for now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def alive(pid: int) -> bool:
    """Whether there is such a process, dead ones that nobody has asked after not counted."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True
    ).stdout
    return bool(state) and not state.startswith("Z")
