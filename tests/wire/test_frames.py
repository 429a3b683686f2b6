"""Frames: bytes become frames and frames bytes, wherever the bytes were split."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.wire.frames import (
    CHUNK,
    DATA,
    HEADER,
    HELLO,
    LARGE,
    LIMITS,
    NAMES,
    PING,
    PONG,
    Frame,
    FrameReader,
    ProtocolError,
    part,
)


def frames_of_each_type() -> list[Frame]:
    types = range(HELLO, PONG + 1)
    return [
        Frame(type, 7, 2**40 + type, b"payload" * (type in LIMITS))
        for type in (*types, *reversed(types), DATA, DATA)
    ]


def fields(frames: list[Frame]) -> list[tuple[int, int, int, bytes]]:
    """What the frames say, with the parts of a DATA frame put together."""
    result: list[tuple[int, int, int, bytes]] = []
    for frame in frames:
        last = result[-1] if result else (0, 0, 0, b"")
        follows = frame.position == last[2] + len(last[3])
        if frame.type == last[0] == DATA and frame.stream == last[1] and follows:
            result[-1] = (*last[:3], last[3] + bytes(frame.payload))
        else:
            result.append((frame.type, frame.stream, frame.position, bytes(frame.payload)))
    return result


def test_split_at_every_byte() -> None:
    frames = frames_of_each_type()
    data = b"".join(frame.encode() for frame in frames)
    for split in range(len(data) + 1):
        reader = FrameReader()
        assert fields(reader.feed(data[:split]) + reader.feed(data[split:])) == fields(frames)


def test_byte_by_byte() -> None:
    frames = frames_of_each_type()
    reader = FrameReader()
    got = []
    for byte in b"".join(frame.encode() for frame in frames):
        got += reader.feed(bytes([byte]))
    assert fields(got) == fields(frames)


@given(
    st.lists(
        st.one_of(
            st.builds(
                Frame,
                st.just(DATA),
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**63),
                st.binary(min_size=1, max_size=300),
            ),
            st.builds(
                Frame,
                st.sampled_from([type for type in range(HELLO, PONG + 1) if type not in LIMITS]),
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**64 - 1),
            ),
            st.builds(
                Frame,
                st.sampled_from([type for type in LIMITS if type != DATA]),
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**64 - 1),
                st.binary(max_size=64),
            ),
        )
    ),
    st.lists(st.integers(1, 200)),
)
def test_any_split(frames: list[Frame], sizes: list[int]) -> None:
    data = b"".join(frame.encode() for frame in frames)
    reader = FrameReader()
    got = []
    for size in sizes:
        got += reader.feed(data[:size])
        data = data[size:]
    got += reader.feed(data)
    assert fields(got) == fields(frames)
    assert reader.feed(b"") == []


def test_data_is_handed_on_as_it_comes() -> None:
    reader = FrameReader()
    data = Frame(DATA, 3, 100, b"0123456789").encode()
    got = reader.feed(data[: HEADER.size + 4])
    assert fields(got) == [(DATA, 3, 100, b"0123")]
    got = reader.feed(data[HEADER.size + 4 :])
    assert fields(got) == [(DATA, 3, 104, b"456789")]


@pytest.mark.parametrize("type", [0, 11, 64, 255])
def test_impossible_types(type: int) -> None:
    with pytest.raises(ProtocolError):
        FrameReader().feed(HEADER.pack(type, 0, 0, 0))


@pytest.mark.parametrize("type", range(HELLO, PONG + 1))
def test_impossible_lengths(type: int) -> None:
    limit = LIMITS.get(type, 0)
    FrameReader().feed(HEADER.pack(type, 0, 0, limit))
    for length in (limit + 1, 2**31, 2**32 - 1):
        with pytest.raises(ProtocolError):
            FrameReader().feed(HEADER.pack(type, 0, 0, length))


def test_random_bytes() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        reader = FrameReader()
        try:
            for _ in range(50):
                data = bytes([rng.randint(0, 12)]) + rng.randbytes(rng.randint(0, 50))
                reader.feed(data)
                assert len(reader._buffer) <= HEADER.size + 4096
        except ProtocolError:
            pass


def test_the_text_of_a_frame_has_no_payload() -> None:
    frame = Frame(HELLO, payload=b"a secret token")
    assert "secret" not in repr(frame)
    assert all(name in repr(Frame(type)) for type, name in enumerate(NAMES))
    assert repr(Frame(99)) == "<99 0 @0 +0>"


def test_the_payload_of_a_large_frame_is_not_collected() -> None:
    """What came of it is handed on at once: the reader keeps no more than a frame's head."""
    data = b"".join(Frame(DATA, 1, n * CHUNK, bytes(CHUNK)).encode() for n in range(16))
    reader = FrameReader()
    size = 0
    for start in range(0, len(data), 65536):
        size += sum(len(frame.payload) for frame in reader.feed(data[start : start + 65536]))
        assert len(reader._buffer) < HEADER.size
    assert size == 16 * CHUNK


def test_many_small_frames_leave_no_rest() -> None:
    data = Frame(PING, 0, 1).encode() * 100_000
    reader = FrameReader()
    got = 0
    for start in range(0, len(data), 65536):
        got += len(reader.feed(data[start : start + 65536]))
        assert len(reader._buffer) < HEADER.size
    assert got == 100_000


def test_a_part_that_is_kept_keeps_little_else_alive() -> None:
    data = bytes(4 * LARGE)
    assert part(data, 0) is data
    assert isinstance(part(data, LARGE), memoryview)
    for start, stop in ((0, LARGE), (LARGE, 3 * LARGE - 1), (0, 17), (4 * LARGE, None)):
        piece = part(data, start, stop)
        assert isinstance(piece, bytes)
        assert piece == data[start:stop]
