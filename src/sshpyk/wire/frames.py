"""Frames: what travels on a carrier, and how it becomes bytes and frames again.

A frame is a header of 17 bytes (type, stream id, position, length; big-endian) and its payload.
What the fields mean for each type:

======= ========== ================================== ==========================================
type    stream     position                           payload
======= ========== ================================== ==========================================
HELLO   0          0                                  JSON: who the client is; first on a carrier
WELCOME 0          0                                  the agent takes the carrier: what proves it
REFUSED 0          0                                  why it does not (text)
OPEN    its id     how far the client has received    channel, or port (`ports`)
DATA    its id     offset of the payload's first byte the bytes
ACK     its id     everything before it was delivered empty
CLOSE   its id     offset behind the last byte        empty
GONE    its id     0                                  empty: that stream is over here
PING    0          any number                         empty
PONG    0          the ping's number                  empty
======= ========== ================================== ==========================================
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Union

    #: Bytes of a stream: a view is of bytes that nobody changes.
    Data = Union[bytes, memoryview]

HEADER = struct.Struct(">BIQI")

HELLO, WELCOME, REFUSED, OPEN, DATA, ACK, CLOSE, GONE, PING, PONG = range(1, 11)
NAMES = ("", "HELLO", "WELCOME", "REFUSED", "OPEN", "DATA", "ACK", "CLOSE", "GONE", "PING", "PONG")

#: Bytes of payload in one DATA frame: large enough that Python's cost per frame vanishes beside
#: the copying, small enough that several streams take turns on one carrier.
CHUNK = 256 * 1024

#: Bytes from which a part is a view of what it is a part of, and no copy.
LARGE = 32 * 1024

#: The longest payload of each type that carries one. Whoever sends more is not our peer.
LIMITS = {HELLO: 4096, WELCOME: 64, REFUSED: 4096, OPEN: 256, DATA: CHUNK}


class ProtocolError(Exception):
    """The peer sent what no peer of ours sends; the carrier that brought it must end."""


class Refused(ProtocolError):
    """The agent ends a carrier, and this is the reason that it gives."""


def part(data: Data, start: int, stop: Optional[int] = None) -> Data:
    """`data[start:stop]`: not copied where it is large, and the larger half of `data`, so that who
    keeps it keeps little else alive."""
    stop = len(data) if stop is None else min(stop, len(data))
    size = stop - start
    if size >= LARGE and 2 * size >= len(data):
        return data if size == len(data) else memoryview(data)[start:stop]
    return bytes(data[start:stop])


class Frame:
    """One frame, or a part of a DATA frame: see `FrameReader`."""

    __slots__ = ("payload", "position", "stream", "type")

    def __init__(self, type: int, stream: int = 0, position: int = 0, payload: Data = b"") -> None:
        self.type = type
        self.stream = stream
        self.position = position
        self.payload = payload

    def encode(self) -> bytes:
        """The frame's bytes."""
        return b"".join(self.parts())

    def parts(self) -> List[Data]:
        """The frame's bytes, the payload's not copied."""
        head = HEADER.pack(self.type, self.stream, self.position, len(self.payload))
        return [head, self.payload] if self.payload else [head]

    def __repr__(self) -> str:
        # Lengths only: payloads are the user's, and a HELLO holds a secret.
        name = NAMES[self.type] if 0 < self.type < len(NAMES) else str(self.type)
        return f"<{name} {self.stream} @{self.position} +{len(self.payload)}>"


class FrameReader:
    """Turns a carrier's bytes into frames.

    The payload of a DATA frame is handed on as it arrives, in as many frames as there were
    pieces: each has a position of its own, so a piece is as good as the whole. Nothing waits for
    a frame's end, and a carrier that is cut in the middle of one has lost only what it had not
    brought.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = 0
        self._position = 0
        self._missing = 0  # bytes of the present DATA frame that are still to come

    def feed(self, data: bytes) -> List[Frame]:
        """Give the bytes that came; get the frames they complete.

        Raises `ProtocolError` where the bytes can't be a peer's.
        """
        frames: List[Frame] = []
        offset = 0
        if self._buffer:
            self._buffer += data
            data = bytes(self._buffer)
            self._buffer.clear()
        size = len(data)
        while offset < size:
            if self._missing:
                piece = part(data, offset, offset + self._missing)
                frames.append(Frame(DATA, self._stream, self._position, piece))
                offset += len(piece)
                self._position += len(piece)
                self._missing -= len(piece)
                continue
            if size - offset < HEADER.size:
                break
            type, stream, position, length = HEADER.unpack_from(data, offset)
            if not HELLO <= type <= PONG:
                raise ProtocolError(f"a frame of type {type}")
            if length > LIMITS.get(type, 0):
                raise ProtocolError(f"a {NAMES[type]} frame of {length} bytes")
            if type == DATA:
                offset += HEADER.size
                self._stream, self._position, self._missing = stream, position, length
                continue
            if size - offset < HEADER.size + length:
                break
            offset += HEADER.size
            frames.append(Frame(type, stream, position, data[offset : offset + length]))
            offset += length
        if offset < size:
            self._buffer += data[offset:]
        return frames
