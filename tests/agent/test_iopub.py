"""The agent at a kernel's iopub: with the real ZeroMQ, and which connection it overhears."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from sshpyk.agent.loop import Loop
from sshpyk.agent.outputs import Outputs
from sshpyk.common.sockets import Socket
from sshpyk.wire.zmtp import HANDSHAKE, SUBSCRIBE, Reader
from tests.wire.test_zmtp import GREETING, frame, messages

SOCKETS = [zmq.PUB, zmq.XPUB]

LARGEST = 1 << 20


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def subscribed(publisher: zmq.Socket[bytes], path: Path) -> tuple[socket.socket, bytes]:
    """A connection that has subscribed, and what came on it."""
    publisher.bind(f"ipc://{path}")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    sock.sendall(HANDSHAKE)
    reader, came = Reader(), b""
    while not reader.is_ready:
        data = sock.recv(65536)
        assert data
        came += data
        assert messages(reader, data) == []
    sock.sendall(SUBSCRIBE)
    return sock, came


@pytest.mark.parametrize("kind", SOCKETS)
def test_with_the_real_one(
    context: zmq.Context[zmq.Socket[bytes]], short_tmp: Path, kind: int
) -> None:
    published = [
        [b"topic", b"<IDS|MSG>", b"", b"x" * 255, b"y" * 256],
        [b"one"],
        [os.urandom(300_000), b"end"],
    ]
    with context.socket(kind) as publisher:
        sock, came = subscribed(publisher, short_tmp / "s")
        with sock:
            found: list[list[bytes]] = []
            reader = Reader(LARGEST)
            messages(reader, came)
            while not found:  # until the subscription has arrived, what is published is not sent
                publisher.send_multipart([b"hello"])
                sock.settimeout(0.05)
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    continue
                came += data
                found += messages(reader, data)
            sock.settimeout(10)
            for message in published:
                publisher.send_multipart(message)
            while [b"one"] not in found or len(found[-1]) != 2:
                data = sock.recv(65536)
                came += data
                found += messages(reader, data)
    assert [message for message in found if message != [b"hello"]] == published
    again = Reader(LARGEST)
    by_bytes = [m for at in range(2000) for m in messages(again, came[at : at + 1])]
    assert by_bytes == found[: len(by_bytes)]
    assert published[0] in by_bytes
    follower = Reader()
    assert messages(follower, came) == [[]] * len(found)


def published(type: str, content: dict[str, str], id: str = "", request: str = "") -> bytes:
    """A message of a kernel; its content makes it another one, where no id is given."""
    header = json.dumps({"msg_type": type, "msg_id": id or json.dumps(content)}).encode()
    parent = json.dumps({"msg_id": request}).encode()
    parts = [b"topic", b"<IDS|MSG>", b"signature", header, parent, b"{}"]
    return b"".join(frame(part, more=True) for part in parts) + frame(json.dumps(content).encode())


BUSY = published("status", {"execution_state": "busy"})
IDLE = published("status", {"execution_state": "idle"})


class Ear:
    """Outputs of which nobody is away, and connections to a kernel that it overhears."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "outputs.jsonl"
        self.loop = Loop(self._stop, lambda: None)
        self.outputs = Outputs(self.loop, str(self.path), 1 << 20, lambda: None)
        self.sockets: list[Socket | socket.socket] = []
        self._has_polled = False

    def connect(self) -> tuple[Reader, Socket, socket.socket]:
        """A client's connection: its reader, its socket, and the kernel's."""
        here, kernel = socket.socketpair()
        sock = Socket(fileno=here.detach())
        self.sockets += (sock, kernel)
        return self.outputs.follow(), sock, kernel

    def _stop(self, now: float) -> None:
        self.loop.running = not self._has_polled
        self._has_polled = True

    def read(self) -> None:
        """The agent's own connection reads what the kernel has sent."""
        self._has_polled, self.loop.running = False, True
        self.loop.hurry()
        self.loop.run()

    def texts(self) -> list[str]:
        """What was kept, and goes to the file when nobody listens any more."""
        now = self.loop.now()
        self.outputs.listen({("a", 1)}, now, now)
        self.outputs.listen(set(), now - 60, now)
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line["content"]["text"] for line in lines if "content" in line]


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tmp_path)
    yield ear
    ear.outputs.forget_kernel()
    for sock in ear.sockets:
        sock.close()
    if ear.outputs._log is not None:
        ear.outputs._log.close()


def text(words: str) -> bytes:
    return published("stream", {"text": words})


def test_the_first_connection_with_a_message_is_overheard(ear: Ear) -> None:
    first, *_ = ear.connect()
    second, *_ = ear.connect()
    for reader in (first, second):
        ear.outputs.overhear(reader, GREETING)
    for message in (BUSY, text("one")):
        for reader in (second, first):
            ear.outputs.overhear(reader, message)
    assert ear.outputs.busy is True
    assert ear.texts() == ["one"]


def followed(ear: Ear) -> tuple[Reader, Socket, socket.socket]:
    """A client's new connection, and that of an earlier one, which is the agent's own now."""
    first, sock, kernel = ear.connect()
    ear.outputs.overhear(first, GREETING + text("one"))
    sock.setblocking(False)
    ear.outputs.adopt(first, sock, is_connected=True)
    second, *_ = ear.connect()
    ear.outputs.overhear(second, GREETING)
    assert sock.fileno() >= 0  # nothing has come on the other
    return second, sock, kernel


def test_another_clients_connection_is_ahead(ear: Ear) -> None:
    """Of what it brings first, the agent's own is yet to bring what came before."""
    second, sock, kernel = followed(ear)
    ear.outputs.overhear(second, text("three"))
    assert sock.fileno() >= 0
    kernel.sendall(text("two") + text("three"))
    ear.read()
    assert sock.fileno() == -1  # the kernel would send everything twice
    ear.outputs.overhear(second, text("four"))
    assert ear.texts() == ["one", "two", "three", "four"]


def test_another_clients_connection_is_behind(ear: Ear) -> None:
    second, sock, kernel = followed(ear)
    kernel.sendall(text("two") + text("three") + text("four")[:50])
    ear.read()
    ear.outputs.overhear(second, text("two"))
    assert sock.fileno() >= 0
    ear.outputs.overhear(second, text("three") + text("four"))
    assert sock.fileno() == -1
    assert ear.texts() == ["one", "two", "three", "four"]


def test_a_connection_that_is_adopted_within_a_message(ear: Ear) -> None:
    first, sock, kernel = ear.connect()
    second, *_ = ear.connect()
    for reader in (first, second):
        ear.outputs.overhear(reader, GREETING + text("one"))
    ear.outputs.overhear(first, text("two")[:-3])
    sock.setblocking(False)
    ear.outputs.adopt(first, sock, is_connected=True)
    ear.outputs.overhear(second, text("two"))
    kernel.sendall(text("two")[-3:] + text("three"))
    ear.read()
    ear.outputs.overhear(second, text("three"))
    assert sock.fileno() == -1
    ear.outputs.overhear(second, IDLE)
    assert ear.outputs.busy is False
    assert ear.texts() == ["one", "two", "three"]


def test_what_a_person_has_saved_is_not_kept_when_they_go(ear: Ear) -> None:
    """Those who listen on, such as Jupyter Server, do not count: what is not saved is kept."""
    reader, *_ = ear.connect()
    ear.outputs.overhear(reader, GREETING)
    server = {("server", 1)}

    def kept() -> list[str]:
        lines = [json.loads(line) for line in ear.path.read_text().splitlines()]
        return [line["mark"] if "mark" in line else line["content"]["text"] for line in lines]

    now = ear.loop.now()
    ear.outputs.listen(server, now, now)
    ear.outputs.seen_by_person(True, is_same=False)
    for number in range(3):
        said = published("stream", {"text": str(number)}, f"id-{number}")
        ear.outputs.overhear(reader, said)
    ear.outputs.saved("id-0")
    ear.outputs.saved("of another kernel")
    # An hour later the page goes.
    ear.outputs.seen_by_person(False, is_same=False)
    ear.outputs.listen(set(), now + 3600, now + 3600)
    ear.outputs.overhear(reader, text("3"))
    assert kept() == ["away", "1", "2", "3"]
    # Its websocket has only broken: it has got the rest by itself.
    ear.outputs.seen_by_person(True, is_same=True)
    ear.outputs.listen(server, now, now)
    assert kept()[4:] == ["resumed"]
    # Another page, which has asked for the rest, sees at once what comes.
    ear.outputs.seen_by_person(False, is_same=False)
    ear.outputs.listen(set(), now, now)
    ear.outputs.seen_by_person(True, is_same=False)
    ear.outputs.listen(server, now, now)
    ear.outputs.overhear(reader, text("4"))
    assert kept()[5:] == ["away", "back"]


def test_what_runs_is_told_whatever_else_the_kernel_has_answered(ear: Ear) -> None:
    """A debugger's request, say, on the control channel: its "idle" is not the cell's."""
    reader, *_ = ear.connect()
    ear.outputs.overhear(reader, GREETING)
    now = ear.loop.now()
    ear.outputs.listen({("server", 1)}, now, now)

    def status(state: str, request: str) -> None:
        content = {"execution_state": state}
        ear.outputs.overhear(reader, published("status", content, request + state, request))

    status("busy", "cell")
    ear.outputs.overhear(reader, published("execute_input", {"code": "x"}, "input", "cell"))
    status("busy", "debugger")
    status("idle", "debugger")
    assert ear.outputs.busy
    ear.outputs.listen(set(), now + 3600, now + 3600)
    told = [json.loads(line) for line in ear.path.read_text().splitlines()]
    assert [line.get("mark") or line["content"]["code"] for line in told] == ["away", "x"]
    assert told[1]["again"]
    status("idle", "cell")
    assert ear.outputs.busy is False
