"""Reading a kernel's iopub: the subscriber's side of ZMTP 3.0 with the NULL mechanism.

The protocol is RFC 23 (https://rfc.zeromq.org/spec/23/). A kernel that speaks CURVE hangs up on
this: its output is for who has the keys, and the agent does without.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List

#: Signature, version 3.0, mechanism, not a server, filler: 64 bytes.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)

_READY = b"\x05READY" + b"\x0bSocket-Type\x00\x00\x00\x03SUB"

#: What goes out first: the greeting, and the command READY.
HANDSHAKE = GREETING + b"\x04" + bytes([len(_READY)]) + _READY

#: The message "subscribe to all", to be sent when the publisher is ready, and not before.
SUBSCRIBE = b"\x00\x01\x01"

_MORE, _LONG, _COMMAND = 1, 2, 4

#: Bytes of one message at most that are kept while it comes in; a larger one is skipped.
LARGEST = 32 * 1024 * 1024


class Subscriber:
    """Turns the publisher's bytes into messages, each a list of frames.

    Those of a frame with which a message has more than `largest` bytes are skipped: it is empty.
    """

    def __init__(self) -> None:
        self.is_ready = False  # whether the publisher has sent its READY
        self.largest = LARGEST
        self._buffer = bytearray()
        self._greeted = False
        self._frames: List[bytes] = []
        self._size = 0
        self._skip = 0  # bytes of a frame too large to keep that are still to come

    def feed(self, data: bytes) -> Iterator[List[bytes]]:
        """Take bytes; yields the messages that they complete."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        if not self._greeted:
            if len(self._buffer) < len(GREETING):
                return
            del self._buffer[: len(GREETING)]
            self._greeted = True
        start = 0
        buffer = self._buffer
        while len(buffer) - start >= 2:
            flags = buffer[start]
            head = 9 if flags & _LONG else 2
            if len(buffer) - start < head:
                break
            size = int.from_bytes(buffer[start + 1 : start + head], "big")
            end = start + head + size
            is_large = self._size + size > self.largest
            if end > len(buffer) and not is_large:
                break
            if is_large:
                self._skip = max(0, end - len(buffer))
            self._size += size
            if flags & _COMMAND:
                self.is_ready = True
            else:
                self._frames.append(b"" if is_large else bytes(buffer[start + head : end]))
                if not flags & _MORE:
                    frames, self._frames, self._size = self._frames, [], 0
                    yield frames
            start = min(end, len(buffer))
        del buffer[:start]
