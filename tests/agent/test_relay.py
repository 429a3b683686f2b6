"""What a relay connects to, and that it goes on when its client takes more."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshpyk.agent import relay as agent_relay
from sshpyk.agent.boot import MAGIC
from sshpyk.agent.relay import Forbidden, dial
from sshpyk.common import peers
from sshpyk.transport import package
from sshpyk.transport.jobs import FIRST_LINE
from sshpyk.wire.mux import DATA, WINDOW, Mux


@pytest.fixture
def directory() -> Iterator[Path]:
    """A private directory, called as an agent's."""
    with tempfile.TemporaryDirectory(prefix="sshpyk-", dir="/tmp") as name:
        yield Path(name)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket at `path`."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        sock.settimeout(20)
        yield sock


@pytest.fixture
def agent(directory: Path) -> Iterator[socket.socket]:
    """An agent's socket, at shell.sock."""
    with listening(directory / "shell.sock") as sock:
        yield sock


@pytest.fixture(autouse=True)
def same_directory() -> Iterator[None]:
    """Where a dial goes, other tests do not."""
    before = os.getcwd()
    yield
    os.chdir(before)


def test_an_agents_socket_is_reached(directory: Path, agent: socket.socket) -> None:
    sock, is_connected = dial(str(directory / "shell.sock"))
    with sock, agent.accept()[0] as accepted:
        assert is_connected
        accepted.sendall(b"hello")
        sock.setblocking(True)
        assert sock.recv(5) == b"hello"
    # It stays in no directory that somebody may want to remove.
    assert os.getcwd() == "/"


def plain_file(directory: Path) -> str:
    (directory / "iopub.sock").touch()
    return f"{directory}/iopub.sock"


def link_to_socket(directory: Path) -> str:
    (directory / "iopub.sock").symlink_to("shell.sock")
    return f"{directory}/iopub.sock"


def link_to_directory(directory: Path) -> str:
    other = Path(f"{directory}-link")
    other.symlink_to(directory)
    return f"{other}/shell.sock"


def open_to_others(directory: Path) -> str:
    directory.chmod(0o710)
    return f"{directory}/shell.sock"


def other_name_of_directory(directory: Path) -> str:
    other = directory.with_name(f"not-{directory.name}")
    directory.rename(other)
    return f"{other}/shell.sock"


def other_name_of_socket(directory: Path) -> str:
    (directory / "shell.sock").rename(directory / "docker.sock")
    return f"{directory}/docker.sock"


HOSTILE: list[Callable[[Path], str]] = [
    plain_file,
    link_to_socket,
    link_to_directory,
    open_to_others,
    other_name_of_directory,
    other_name_of_socket,
    lambda d: f"{d}/../{d.name}/shell.sock",
    lambda d: f"{d}/./shell.sock",
    lambda d: f"{d}/shell.sock/",
    lambda d: f"{d}/shell.sock\0/x",
    lambda d: os.path.relpath(f"{d}/shell.sock"),
    lambda d: f"{d}/",
    lambda d: "\0sshpyk-abstract/shell.sock",
    lambda d: "shell.sock",
    lambda d: "",
    lambda d: "/run/docker.sock",
    lambda d: "22",
    lambda d: "0",
    lambda d: "-1",
    lambda d: "99999999999999999999",
    lambda d: "٣٣٠٦",
    lambda d: f"{d}/{'x' * 200}.sock",
]


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__.strip("<>"))
def test_nothing_else_is(
    spoil: Callable[[Path], str], directory: Path, agent: socket.socket
) -> None:
    address = spoil(directory)
    try:
        with pytest.raises((Forbidden, OSError, ValueError)):
            dial(address)
        agent.setblocking(False)
        with pytest.raises(BlockingIOError):
            agent.accept()
    finally:
        for name in (f"{directory}-link", f"{directory.parent}/not-{directory.name}"):
            if os.path.islink(name):
                os.unlink(name)
            elif os.path.isdir(name):
                os.rename(name, directory)


def test_what_is_looked_at_is_what_is_connected_to(
    directory: Path, agent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody puts another directory in its place just after it was opened."""
    aside = Path(f"{directory}-aside")
    opening = os.open

    def open_and_swap(path: str, flags: int) -> int:
        opened = opening(path, flags)
        directory.rename(aside)
        directory.mkdir(mode=0o777)
        return opened

    try:
        with listening(aside.with_name(f"{directory.name}-planted")) as planted:
            monkeypatch.setattr(os, "open", open_and_swap)
            planted.setblocking(False)
            sock, _ = dial(str(directory / "shell.sock"))
            monkeypatch.undo()
            with sock, agent.accept()[0]:
                pass
    finally:
        os.unlink(f"{directory}-planted")
        shutil.rmtree(directory)
        aside.rename(directory)


def test_another_users_socket_is_none_of_ours(
    directory: Path, agent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / "shell.sock"))
        assert peers.listener_uid(sock) == os.getuid()
    monkeypatch.setattr(agent_relay, "listener_uid", lambda sock: os.getuid() + 1)
    with pytest.raises(Forbidden, match="another user"):
        dial(str(directory / "shell.sock"))


def test_ports_are_those_of_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as agent:
        port = agent.getsockname()[1]
        with pytest.raises(Forbidden, match="no port of an agent"):
            dial(str(port))
        record = {"listening": {"shell": port}}
        monkeypatch.setattr(agent_relay, "all_records", lambda: [{}, record])
        with dial(str(port))[0] as sock, agent.accept()[0] as accepted:
            accepted.sendall(b"hello")
            sock.setblocking(True)
            assert sock.recv(5) == b"hello"
        monkeypatch.setattr(agent_relay, "is_taken", lambda address: True)
        with pytest.raises(Forbidden, match="no port of an agent"):
            dial(str(port))


def test_it_reads_on_when_its_client_takes_more(directory: Path, agent: socket.socket) -> None:
    """The pipe is empty all the while: nothing but credit is wanting."""
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", FIRST_LINE]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(package.relay() + b'{"do": "relay"}\n')
        while not process.stdout.readline().startswith(MAGIC):
            pass
        mux = Mux(is_client=True)
        id = mux.open(str(directory / "shell.sock"))
        process.stdin.write(mux.next())
        accepted = agent.accept()[0]
        size = 2 * WINDOW
        accepted.settimeout(0.2)
        sent = 0
        got = 0

        def receive() -> None:
            nonlocal got
            assert process.stdout is not None
            for event in mux.receive(process.stdout.read(1 << 18)):
                assert event.type == DATA
                got += len(event.payload)

        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += accepted.send(bytes(min(1 << 16, size - sent)))
                while got < min(sent, WINDOW) - (1 << 18):
                    receive()
        while got < WINDOW:
            receive()
        assert sent < size, "the relay has read more than there was credit for"
        mux.consumed(id, WINDOW)
        process.stdin.write(mux.next())
        while got < sent:
            receive()
        accepted.close()
        process.stdin.close()
        assert process.wait(20) == 0
