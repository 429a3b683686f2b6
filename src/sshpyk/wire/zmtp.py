"""Reading what a ZMQ socket sends: ZMTP 3, the protocol on ZMQ's connections.

It is RFC 23 (https://rfc.zeromq.org/spec/23/): a greeting of 64 bytes; then frames, of which each
has flags, a length of 1 or 8 bytes, and a body. A message is a row of frames of which all but the
last are flagged "more"; commands stand between messages. With CURVE nothing of this can be seen.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Union

_GREETING = 64


def _greeting(version: bytes) -> bytes:
    """Signature, version, mechanism, not a server, filler."""
    return b"\xff" + bytes(8) + b"\x7f" + version + b"NULL".ljust(20, b"\0") + bytes(32)


#: What a client of Jupyter's says first (libzmq 4.3) where there is no CURVE.
GREETING = _greeting(b"\x03\x01")

#: What a subscriber sends first, the greeting and the command READY: in version 3.0, where a
#: subscription is a message.
_READY = b"\x05READY" + b"\x0bSocket-Type\x00\x00\x00\x03SUB"
HANDSHAKE = _greeting(b"\x03\x00") + b"\x04" + bytes([len(_READY)]) + _READY

#: The message "subscribe to all", to be sent when the publisher is ready, and not before.
SUBSCRIBE = b"\x00\x01\x01"

_MORE, _LONG, _COMMAND = 1, 2, 4


def message_of(frames: List[bytes]) -> bytes:
    """A message of these frames."""
    parts = []
    for number, frame in enumerate(frames, 1):
        more = _MORE if number < len(frames) else 0
        size = len(frame)
        if size < 256:
            parts += [bytes((more, size)), frame]
        else:
            parts += [bytes((more | _LONG,)), size.to_bytes(8, "big"), frame]
    return b"".join(parts)


class Ahead:
    """Takes a greeting out of what a client sends, because `GREETING` was sent ahead of it.

    `is_other` is whether its own says something else, so that the two can't be joined. The length
    in the signature says nothing, and the minor version nothing that matters to a kernel.
    """

    def __init__(self) -> None:
        self.is_other = False
        self._came = b""

    def feed(self, data: bytes) -> bytes:
        """The client has sent `data`; what follows the greeting."""
        left = _GREETING - len(self._came)
        if left:
            came = self._came = self._came + data[:left]
            self.is_other = (
                came[:1] != GREETING[:1]
                or came[10:11] not in (b"", GREETING[10:11])
                or came[12:33] != GREETING[12:33][: max(0, len(came) - 12)]
            )
        return data[left:]


class Reader:
    """Follows the bytes of one direction of a connection, from the first on.

    `keep` is how many bytes of each message are kept, from the next message on; of a frame with
    which a message has more, and of those behind it, nothing is kept. With 0 following costs
    little more than finding where messages end.
    """

    def __init__(self, keep: int = 0) -> None:
        self.keep = keep
        self.is_ready = False  # whether the sender's READY has come
        self.is_opaque = False  # whether nothing can be seen: encrypted, or not ZMTP 3 at all
        self.has_ended = False  # whether `read` stopped behind a message
        self.size = 0  # bytes of the message that `read` is in or has ended, frames' heads included
        self.frames: List[bytes] = []  # what is kept of it
        self._head = bytearray()  # of a greeting or a frame's head that is not complete
        self._is_greeted = False
        self._flags = 0  # of the frame whose body comes
        self._left = 0  # bytes of that body that are still to come
        self._body = bytearray()  # what came of it in pieces, where it is kept
        self._keeps = False  # whether it is kept
        self._room = -1  # bytes of the message that may still be kept, -1 after one too large

    @property
    def is_between(self) -> bool:
        """Whether this is a place between two messages, or none can be told."""
        if self.is_opaque or self.has_ended:
            return True
        return not (self._left or self.size or self._head)

    def read(self, data: bytes, offset: int = 0) -> int:
        """Read on in `data` from `offset`, at most to the end of the next message; returns where
        it stopped. `has_ended` says whether a message ended there, `frames` what is kept of it."""
        end = len(data)
        if self.has_ended:
            self.has_ended = False
            self._begin_message()
        while offset < end and not self.has_ended:
            if self.is_opaque:
                return end
            if self._left:
                offset = self._read_body(data, offset)
            elif self._head or not self._is_greeted or end - offset < 9:
                offset = self._read_piece(data, offset)
            else:
                # A frame that is here as a whole, as most are, takes no call of a function.
                flags = data[offset]
                start = offset + (9 if flags & _LONG else 2)
                size = int.from_bytes(data[offset + 1 : start], "big")
                if start + size > end or flags > _MORE | _LONG:
                    offset = self._read_head(data, offset)
                    continue
                self.size += start - offset + size
                offset = start + size
                if size <= self._room:
                    self._room -= size
                    self.frames.append(data[start:offset])
                else:
                    self._room = -1
                self.has_ended = not flags & _MORE
        return offset

    def _begin_message(self) -> None:
        self.size = 0
        self.frames = []
        self._room = self.keep or -1

    def _read_piece(self, data: bytes, offset: int) -> int:
        """Collect a greeting, or a frame's head, that comes in pieces."""
        head = self._head
        while offset < len(data) and len(head) < self._wanted():
            size = min(self._wanted() - len(head), len(data) - offset)
            head += data[offset : offset + size]
            offset += size
        if len(head) == self._wanted():
            if self._is_greeted:
                self._read_head(head, 0)
            else:
                # The version stands at 10, the mechanism's name at 12.
                is_plain = head[0] == 0xFF and head[10] >= 3
                self.is_opaque = not (is_plain and bytes(head[12:17]) in (b"NULL\0", b"PLAIN"))
                self._is_greeted = True
                self._begin_message()
            head.clear()
        return offset

    def _wanted(self) -> int:
        if not self._is_greeted:
            return _GREETING
        if not self._head:
            return 1
        return 9 if self._head[0] & _LONG else 2

    def _read_head(self, data: Union[bytes, bytearray], offset: int) -> int:
        """Read the head of a frame, all of which is in `data`."""
        flags = self._flags = data[offset]
        if flags > _MORE | _LONG | _COMMAND:
            self.is_opaque = True
            return offset
        end = offset + (9 if flags & _LONG else 2)
        size = self._left = int.from_bytes(data[offset + 1 : end], "big")
        self.size += end - offset + size
        self._keeps = size <= self._room and not flags & _COMMAND
        self._room = self._room - size if self._keeps else -1
        if not size:
            self._end_frame(b"")
        return end

    def _read_body(self, data: bytes, offset: int) -> int:
        end = offset + self._left
        if end <= len(data):
            self._left = 0
            if not self._keeps:
                self._end_frame(b"")
            elif self._body:
                body = bytes(self._body + data[offset:end])
                self._body.clear()
                self._end_frame(body)
            else:
                self._end_frame(data[offset:end])
            return end
        self._left = end - len(data)
        if self._keeps:
            self._body += data[offset:]
        return len(data)

    def _end_frame(self, body: bytes) -> None:
        if self._flags & _COMMAND:
            self.is_ready = True
            self._begin_message()
            return
        if self._keeps:
            self.frames.append(body)
        self.has_ended = not self._flags & _MORE
