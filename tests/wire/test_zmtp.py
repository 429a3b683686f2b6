"""The agent's small subscriber against the real ZeroMQ, and cut at every byte."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import zmq
except ImportError:
    pytest.skip("pyzmq is not installed here", allow_module_level=True)

from sshpyk.wire.zmtp import HANDSHAKE, SUBSCRIBE, Subscriber

SOCKETS = [zmq.PUB, zmq.XPUB]


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
    subscriber, came = Subscriber(), b""
    while not subscriber.is_ready:
        data = sock.recv(65536)
        assert data
        came += data
        assert list(subscriber.feed(data)) == []
    sock.sendall(SUBSCRIBE)
    return sock, came


@pytest.mark.parametrize("kind", SOCKETS)
def test_with_the_real_one(
    context: zmq.Context[zmq.Socket[bytes]], short_tmp: Path, kind: int
) -> None:
    messages = [
        [b"topic", b"<IDS|MSG>", b"", b"x" * 255, b"y" * 256],
        [b"one"],
        [os.urandom(300_000), b"end"],
    ]
    with context.socket(kind) as publisher:
        sock, came = subscribed(publisher, short_tmp / "s")
        with sock:
            found: list[list[bytes]] = []
            subscriber = Subscriber()
            list(subscriber.feed(came))
            while not found:  # until the subscription has arrived, what is published is not sent
                publisher.send_multipart([b"hello"])
                sock.settimeout(0.05)
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    continue
                came += data
                found += subscriber.feed(data)
            sock.settimeout(10)
            for message in messages:
                publisher.send_multipart(message)
            while [b"one"] not in found or len(found[-1]) != 2:
                data = sock.recv(65536)
                came += data
                found += subscriber.feed(data)
    assert [message for message in found if message != [b"hello"]] == messages
    again = Subscriber()
    by_bytes = [m for at in range(2000) for m in again.feed(came[at : at + 1])]
    assert by_bytes == found[: len(by_bytes)]
    assert messages[0] in by_bytes


def test_a_message_too_large_is_skipped() -> None:
    large, small = b"\x02" + (1000).to_bytes(8, "big") + b"x" * 1000, b"\x00\x02ok"
    data = bytes(64) + large + small
    for size in (1, 7, len(data)):
        subscriber = Subscriber()
        subscriber.largest = 100
        found = [
            message
            for at in range(0, len(data), size)
            for message in subscriber.feed(data[at : at + size])
        ]
        assert found == [[b""], [b"ok"]]
