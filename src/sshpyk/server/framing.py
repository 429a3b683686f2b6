"""How messages of all channels share one websocket. Pure: bytes in, bytes out.

A message's parts are those of ZMQ without identities and signature: header, parent_header,
metadata, content, each a JSON text, then any buffers. With the subprotocol `V1` they travel as they
are; servers that have it not put all four into one JSON text.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from typing import Any

#: The subprotocol, in which nothing need be read of a message to pass it on.
V1 = "v1.kernel.websocket.jupyter.org"

#: The parts of a message, before its buffers.
NAMES = ("header", "parent_header", "metadata", "content")


class FramingError(ValueError):
    """What came is no message."""


def encode(channel: str, parts: Sequence[bytes]) -> bytes:
    """A message in the subprotocol: a count, offsets (little-endian, 64 bits), then channel and
    parts."""
    pieces = [channel.encode(), *parts]
    offsets = [8 * (len(pieces) + 2)]
    for piece in pieces:
        offsets.append(offsets[-1] + len(piece))
    return b"".join((struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets), *pieces))


def decode(data: bytes) -> tuple[str, list[bytes]]:
    """The channel and the parts of a message. Raises `FramingError`."""
    if len(data) < 8:
        raise FramingError(f"a frame of {len(data)} bytes")
    (count,) = struct.unpack_from("<Q", data)
    if not 6 <= count <= len(data) // 8 - 1:
        raise FramingError(f"{count} offsets in a frame of {len(data)} bytes")
    offsets = struct.unpack_from(f"<{count}Q", data, 8)
    if offsets[0] != 8 * (count + 1) or offsets[-1] != len(data):
        raise FramingError("offsets that do not span the frame")
    pieces = _cut(data, offsets)
    return _channel(pieces[0]), pieces[1:]


def encode_legacy(channel: str, parts: Sequence[bytes]) -> str | bytes:
    """A message for a server without the subprotocol: text, or with buffers bytes."""
    fields = [f'"{name}": '.encode() + part for name, part in zip(NAMES, parts, strict=False)]
    text = b'{"channel": "%s", "buffers": [], %s}' % (channel.encode(), b", ".join(fields))
    buffers = parts[len(NAMES) :]
    if not buffers:
        return text.decode()
    pieces = [text, *buffers]
    offsets = [4 * (len(pieces) + 1)]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return b"".join((struct.pack(f">{len(pieces) + 1}I", len(pieces), *offsets), *pieces))


def decode_legacy(data: str | bytes) -> tuple[str, list[bytes]]:
    """What such a server sends. Raises `FramingError`."""
    buffers: list[bytes] = []
    text: str | bytes = data
    if isinstance(data, bytes):
        if len(data) < 4:
            raise FramingError(f"a frame of {len(data)} bytes")
        (count,) = struct.unpack_from(">I", data)
        if not 1 <= count <= len(data) // 4 - 1:
            raise FramingError(f"{count} offsets in a frame of {len(data)} bytes")
        offsets = struct.unpack_from(f">{count}I", data, 4)
        if offsets[0] != 4 * (count + 1):
            raise FramingError("offsets that do not span the frame")
        text, *buffers = _cut(data, (*offsets, len(data)))
    message = to_object(text)
    channel = message.get("channel")
    if not isinstance(channel, str):
        raise FramingError("a message without a channel")
    parts = []
    for name in NAMES:
        value = message.get(name)
        if not isinstance(value, dict):
            raise FramingError(f"a message without {name}")
        parts.append(to_bytes(value))
    return channel, [*parts, *buffers]


def to_object(text: str | bytes) -> dict[str, Any]:
    """The object that a JSON text is. Raises `FramingError`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FramingError(f"a text that is not JSON: {error}"[:200]) from None
    if not isinstance(value, dict):
        raise FramingError("a JSON text that is no object")
    return value


def to_bytes(value: dict[str, Any]) -> bytes:
    """The JSON text of an object. A lone surrogate, which JSON can spell, stays spelled out."""
    return json.dumps(value).encode()


def _cut(data: bytes, offsets: Sequence[int]) -> list[bytes]:
    pieces = []
    for start, end in itertools.pairwise(offsets):
        if not start <= end <= len(data):
            raise FramingError("offsets that are out of order")
        pieces.append(data[start:end])
    return pieces


def _channel(name: bytes) -> str:
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise FramingError("a channel whose name is not ASCII") from None
