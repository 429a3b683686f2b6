"""The reader of ZMTP against the real ZeroMQ, and cut at every byte."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from sshpyk.wire.zmtp import HANDSHAKE, SUBSCRIBE, Reader

SOCKETS = [zmq.PUB, zmq.XPUB]


LARGEST = 1 << 20

GREETING = HANDSHAKE[:64]


def messages(reader: Reader, data: bytes) -> list[list[bytes]]:
    """Read all of `data`; the messages that end in it."""
    found, offset = [], 0
    while offset < len(data):
        offset = reader.read(data, offset)
        if reader.has_ended:
            found.append(reader.frames)
    return found


def frame(body: bytes, *, more: bool = False) -> bytes:
    if len(body) < 256:
        return bytes([more, len(body)]) + body
    return bytes([more + 2]) + len(body).to_bytes(8, "big") + body


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


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_of_what_is_too_large_nothing_is_kept(size: int) -> None:
    large = frame(b"topic", more=True) + frame(b"x" * 1000, more=True) + frame(b"end")
    exact = frame(b"y" * 50, more=True) + frame(b"z" * 50, more=True) + frame(b"")
    data = GREETING + large + exact + frame(b"ok")
    reader = Reader(100)
    found = [m for at in range(0, len(data), size) for m in messages(reader, data[at : at + size])]
    assert found == [[b"topic"], [b"y" * 50, b"z" * 50, b""], [b"ok"]]


def test_keeps_from_the_next_message_on() -> None:
    one, two = frame(b"a", more=True) + frame(b"b"), frame(b"c")
    reader = Reader()
    assert messages(reader, GREETING + one + one[:4]) == [[]]
    between = [reader.is_between]
    reader.keep = 100
    assert messages(reader, one[4:] + two) == [[], [b"c"]]
    between.append(reader.is_between)
    assert between == [False, True]
    reader.keep = 0
    assert messages(reader, two) == [[]]


@pytest.mark.parametrize(
    "data",
    [GREETING.replace(b"NULL\0", b"CURVE"), bytes(64), GREETING + b"\x08" + bytes(20)],
    ids=["curve", "other", "flags"],
)
def test_what_can_not_be_seen(data: bytes) -> None:
    for size in (1, len(data)):
        reader = Reader(100)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [m for piece in pieces for m in messages(reader, piece + b"")] == []
        assert reader.is_opaque
        assert reader.is_between
        assert messages(reader, frame(b"x")) == []
