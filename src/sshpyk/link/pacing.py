"""How fast a backlog is handed to Jupyter Server, which throws away what comes too fast.

Jupyter Server protects browsers: what a kernel sends on iopub beyond so many messages or bytes a
second is dropped. A live kernel that floods is cut off there as it would be without ssh between;
but what piled up while the link was away comes all at once through no fault of its own. So that
is handed over at a rate below the limits. Other clients have no limits, and get it at full speed.

To count it must look into ZMQ's bytes: where messages begin, and whether they are text, for only
text counts by its size there. Where that can't be seen (CURVE), all bytes count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..wire.zmtp import Reader

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
        self._reader = Reader(keep=HEAD)

    def begin(self, now: float) -> None:
        """A backlog may be coming."""
        self._quiet_at = now + QUIET

    def allow(self, data: bytes, now: float) -> int:
        """How many bytes of `data`, the next of the stream, may go on at `now`.

        Where it is less than all: ask again in `PORTION` seconds, beginning with the rest.
        """
        if self._quiet_at is not None and now >= self._quiet_at:
            self._quiet_at = None
        self._messages.refill(now)
        self._text.refill(now)
        offset = 0
        while offset < len(data):
            if self._quiet_at is not None and self._is_spent and self._reader.is_between:
                self._quiet_at = now + QUIET
                break
            offset = self._read(data, offset)
        return offset

    def _read(self, data: bytes, offset: int) -> int:
        """Count what comes next, a message or a part of one; returns where it ends."""
        reader = self._reader
        end = reader.read(data, offset)
        if reader.is_opaque:
            size = min(len(data) - offset, 4 * LEAST)
            self._messages.left -= size / LEAST
            self._text.left -= size
            return offset + size
        if reader.has_ended:
            self._messages.left -= 1
            if any(b'"stream"' in frame for frame in reader.frames):
                self._text.left -= reader.size
        return end

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
