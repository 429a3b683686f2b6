"""The reader of ZMTP, in pieces of any size; `tests/agent/test_iopub.py` has the real ZeroMQ."""

from __future__ import annotations

import pytest

from sshpyk.wire.zmtp import GREETING as AHEAD
from sshpyk.wire.zmtp import HANDSHAKE, Ahead, Reader, message_of

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


def test_a_message_of_short_and_long_frames() -> None:
    short, long = b"x" * 255, b"y" * 256
    whole = frame(short, more=True) + frame(long, more=True) + frame(b"")
    assert message_of([short, long, b""]) == whole
    assert message_of([long]) == frame(long)


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


@pytest.mark.parametrize("size", [1, 10, 11, 64, 1000])
def test_a_greeting_that_was_sent_ahead(size: int) -> None:
    """A client's own is taken out, whatever the length in it and its minor version."""
    greeting = AHEAD[:8] + b"\x21" + AHEAD[9:11] + b"\x00" + AHEAD[12:]
    data = greeting + frame(b"message")
    ahead = Ahead()
    pieces = [ahead.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert (b"".join(pieces), ahead.is_other) == (frame(b"message"), False)


@pytest.mark.parametrize(
    "data",
    [AHEAD[:10] + b"\x01", AHEAD.replace(b"NULL\0", b"CURVE"), AHEAD[:32] + b"\x01", b"GET / HTTP"],
    ids=["version", "mechanism", "server", "other"],
)
def test_a_greeting_that_differs_from_what_was_sent_ahead(data: bytes) -> None:
    ahead = Ahead()
    ahead.feed(data)
    assert ahead.is_other
