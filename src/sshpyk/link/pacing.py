"""How fast a backlog is handed to Jupyter Server, which throws away what comes too fast.

Jupyter Server protects browsers: what a kernel sends on iopub beyond so many messages or bytes a
second is dropped. A live kernel that floods is cut off there as it would be without ssh between;
but what piled up while the link was away comes all at once through no fault of its own. So that
is handed over at a rate below the limits. Other clients have no limits, and get it at full speed.

This is the one place that looks into ZMQ's bytes: at where messages begin, and whether they are
text, for only that counts by its size there. Where that can't be seen (CURVE), all bytes count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: The share of the limits that is used. The server counts by its own clock, over a few seconds:
#: were it busy for one of them, it would find more in its window than was handed over in one.
SHARE = 0.6

#: What may go at once, in seconds of the rate that is used.
BURST = 0.5

#: Seconds without having to hold anything back after which the backlog is through.
QUIET = 3.0

#: Seconds between two portions.
PORTION = 0.05

#: Bytes of a message that cannot be seen are at least so many: signature, four dictionaries.
LEAST = 400

#: Bytes of a message in which its type stands.
HEAD = 1024

_GREETING = 64
_MORE, _LONG, _COMMAND = 1, 2, 4


@dataclass(frozen=True)
class Limits:
    """What a server lets through: messages and bytes of text per second, 0 for no limit."""

    messages: float
    text: float


def of_server(manager: Any) -> Limits | None:
    """The limits of the Jupyter Server in which a kernel manager lives; None where it does not."""
    app = manager
    while app is not None and not hasattr(app, "kernel_websocket_connection_class"):
        app = getattr(app, "parent", None)
    if app is None:
        return None
    kind = app.kernel_websocket_connection_class
    values: dict[str, Any] = {}
    for name in ("limit_rate", "iopub_msg_rate_limit", "iopub_data_rate_limit"):
        trait = kind.class_traits().get(name)
        values[name] = trait.default_value if trait is not None else 0
        for section in kind.section_names():
            values[name] = app.config.get(section, {}).get(name, values[name])
    if not values["limit_rate"]:
        return None
    return Limits(float(values["iopub_msg_rate_limit"]), float(values["iopub_data_rate_limit"]))


class Pacer:
    """Says how much of one iopub stream may go on; time is an argument, in seconds.

    It must see every byte of the stream, from the first, to know where messages begin.
    """

    def __init__(self, limits: Limits) -> None:
        self._messages = _Budget(SHARE * limits.messages)
        self._text = _Budget(SHARE * limits.text)
        self._quiet_at: float | None = None  # when the backlog counts as through
        self._reader = _Reader()

    def begin(self, now: float) -> None:
        """A backlog may be coming."""
        self._quiet_at = now + QUIET

    def take(self, data: bytes, now: float) -> int:
        """How many bytes of `data`, the next of the stream, may go on at `now`.

        Where it is less than all: ask again in `PORTION` seconds, beginning with the rest.
        """
        if self._quiet_at is not None and now >= self._quiet_at:
            self._quiet_at = None
        self._messages.refill(now)
        self._text.refill(now)
        offset = 0
        while offset < len(data):
            if self._quiet_at is not None and self._is_spent and self._reader.may_stop:
                self._quiet_at = now + QUIET
                break
            read, messages, text = self._reader.read(data, offset)
            offset += read
            self._messages.left -= messages
            self._text.left -= text
        return offset

    @property
    def _is_spent(self) -> bool:
        return self._messages.left <= 0 or self._text.left <= 0


class _Budget:
    """What may be spent: it grows by `rate` a second, up to `BURST` seconds of it."""

    def __init__(self, rate: float) -> None:
        self._rate = rate if rate > 0 else float("inf")
        self._most = self.left = BURST * self._rate
        self._at = 0.0

    def refill(self, now: float) -> None:
        grown = (now - self._at) * self._rate if now > self._at else 0.0
        self.left = min(self._most, max(self.left, -QUIET * self._rate) + grown)
        self._at = now


class _Reader:
    """Follows ZMTP 3, the protocol on ZMQ's connections, as far as pacing needs it.

    A greeting of 64 bytes; then frames: flags, a length of 1 or 8 bytes, and a body. A message is
    a row of frames of which all but the last are flagged "more"; commands stand between messages.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()  # of a greeting or a frame's head that is not complete
        self._greeted = False
        self._is_opaque = False
        self._left = 0  # bytes of the present frame's body that are still to come
        self._flags = 0
        self._size = 0  # of the present message
        self._head = bytearray()  # its first bytes

    @property
    def may_stop(self) -> bool:
        """Whether this is a place between two messages."""
        return self._is_opaque or not (self._left or self._size or self._buffer)

    def read(self, data: bytes, offset: int) -> tuple[int, float, float]:
        """Take the next part of `data`: its size, and the messages and bytes of text that end
        with it."""
        if self._is_opaque:
            size = min(len(data) - offset, 4 * LEAST)
            return size, size / LEAST, size
        if self._left:
            size = min(self._left, len(data) - offset)
            self._take_body(data, offset, size)
        else:
            size = self._take_head(data, offset)
        if self._left or self._buffer or not self._greeted or self._flags & _MORE:
            return size, 0, 0
        return size, *self._ended()

    def _take_body(self, data: bytes, offset: int, size: int) -> None:
        self._left -= size
        self._size += size
        if len(self._head) < HEAD:
            self._head += data[offset : offset + min(size, HEAD)]

    def _take_head(self, data: bytes, offset: int) -> int:
        wanted = self._wanted()
        size = min(wanted - len(self._buffer), len(data) - offset)
        self._buffer += data[offset : offset + size]
        if len(self._buffer) < self._wanted():
            return size
        head = bytes(self._buffer)
        self._buffer.clear()
        if not self._greeted:
            self._greeted = True
            # The mechanism's name stands at 12; of encrypted messages nothing can be seen.
            is_plain = head[0] == 0xFF and head[10] >= 3 and head[12:17] in (b"NULL\0", b"PLAIN")
            self._is_opaque = not is_plain
            self._flags = _COMMAND
            return size
        self._flags = head[0]
        self._is_opaque = head[0] > 7
        self._left = int.from_bytes(head[1:], "big")
        self._size += len(head)
        return size

    def _wanted(self) -> int:
        if not self._greeted:
            return _GREETING
        if not self._buffer:
            return 1
        return 9 if self._buffer[0] & _LONG else 2

    def _ended(self) -> tuple[float, float]:
        """A message or a command has ended: what it counts."""
        size, is_text = self._size, b'"stream"' in self._head
        self._size = 0
        self._head.clear()
        if self._flags & _COMMAND:
            return 0, 0
        return 1, size if is_text else 0
