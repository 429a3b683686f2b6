"""Framing: what goes in comes out, and what is none of it is refused and nothing worse."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.services.kernels.connection import base as upstream

from sshpyk.server.framing import (
    NAMES,
    FramingError,
    decode,
    decode_legacy,
    encode,
    encode_legacy,
    to_bytes,
)

#: Jupyter Server's own framing, which has no types.
base: Any = upstream

CHANNELS = st.sampled_from(["shell", "iopub", "stdin", "control"])
OBJECTS = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.integers(-(2**53), 2**53) | st.text() | st.lists(st.booleans(), max_size=3),
    max_size=4,
)
BUFFERS = st.lists(st.binary(max_size=100), max_size=4)
PARTS = st.builds(
    lambda objects, buffers: [*map(to_bytes, objects), *buffers],
    st.lists(OBJECTS, min_size=4, max_size=4),
    BUFFERS,
)


@given(CHANNELS, PARTS)
def test_a_message_comes_out_as_it_went_in(channel: str, parts: list[bytes]) -> None:
    assert decode(encode(channel, parts)) == (channel, parts)


@given(CHANNELS, PARTS)
def test_the_server_reads_it_and_we_read_the_server(channel: str, parts: list[bytes]) -> None:
    """Against Jupyter Server's own."""
    assert base.deserialize_msg_from_ws_v1(encode(channel, parts)) == (channel, parts)
    written = base.serialize_msg_to_ws_v1(parts, channel)
    assert decode(bytes(written)) == (channel, parts)


@given(CHANNELS, PARTS)
def test_legacy_comes_out_as_it_went_in(channel: str, parts: list[bytes]) -> None:
    there, back = decode_legacy(encode_legacy(channel, parts))
    assert there == channel
    assert [json.loads(p) for p in back[:4]] == [json.loads(p) for p in parts[:4]]
    assert back[4:] == parts[4:]


@given(CHANNELS, PARTS)
def test_the_server_reads_legacy_and_we_read_the_server(channel: str, parts: list[bytes]) -> None:
    sent = encode_legacy(channel, parts)
    message = base.deserialize_binary_message(sent) if isinstance(sent, bytes) else json.loads(sent)
    assert message["channel"] == channel
    assert [message[name] for name in NAMES] == [json.loads(part) for part in parts[:4]]
    assert [bytes(buffer) for buffer in message["buffers"]] == parts[4:]
    there, back = decode_legacy(base.serialize_binary_message({**message, "buffers": parts[4:]}))
    assert (there, back[4:]) == (channel, parts[4:])


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    for read in (decode, decode_legacy):
        with pytest.raises(FramingError):
            read(data)


@given(CHANNELS, PARTS, st.data())
def test_a_wrong_byte_is_refused_or_changes_only_what_is_said(
    channel: str, parts: list[bytes], data: st.DataObject
) -> None:
    for frame, read in (
        (encode(channel, parts), decode),
        (encode_legacy(channel, parts), decode_legacy),
    ):
        raw = bytearray(frame.encode() if isinstance(frame, str) else frame)
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            _, got = read(bytes(raw))
        except FramingError:
            continue
        assert sum(map(len, got)) <= 2 * len(raw) + 100


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("<Q", 2**63),  # a count that no memory holds
        struct.pack("<7Q", 6, 56, 2**60, 2**60, 2**60, 2**60, 56),  # offsets far beyond
        struct.pack("<7Q", 6, 56, 56, 57, 56, 56, 56),  # that go back
        struct.pack("<2Q", 1, 16),
    ],
)
def test_lies_about_sizes(frame: bytes) -> None:
    with pytest.raises(FramingError):
        decode(frame)


def test_a_text_that_nests_too_deep() -> None:
    with pytest.raises(FramingError):
        decode_legacy("[" * 100_000)
