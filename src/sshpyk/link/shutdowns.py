"""Keeps shutdown requests of local clients from a kernel that is not ours to end by them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable

from ..wire.zmtp import Reader

#: Bytes of a greeting, which pass at once: each side waits for the beginning of the other's.
GREETING = 64

#: Bytes of a message that may be a shutdown request.
LARGEST = 64 * 1024


class Filter:
    """What one client sends on the control channel, without its shutdown requests.

    `on_shutdown` is called with each, and whether it is part of a restart. With CURVE nothing can
    be seen, and all passes.
    """

    def __init__(self, on_shutdown: Callable[[bool], None]) -> None:
        self._on_shutdown = on_shutdown
        self._reader = Reader(keep=LARGEST)
        self._greeting = GREETING
        self._held = bytearray()  # of a message that has not ended

    def feed(self, data: bytes) -> bytes:
        """`data` has come; what goes on to the kernel."""
        passed = bytearray(data[: self._greeting])
        offset = self._reader.read(data[: self._greeting])
        self._greeting -= offset
        while offset < len(data):
            end = self._reader.read(data, offset)
            self._held += data[offset:end]
            offset = end
            is_restart = _shutdown(self._reader.frames) if self._reader.has_ended else None
            if is_restart is not None:
                self._held.clear()
                self._on_shutdown(is_restart)
            elif self._reader.is_between or self._reader.size > LARGEST:
                passed += self._held
                self._held.clear()
        return bytes(passed)


def _shutdown(frames: list[bytes]) -> bool | None:
    """Whether a message is a shutdown request, and if so, part of a restart."""
    try:
        header, _, _, content = frames[frames.index(b"<IDS|MSG>") + 2 :][:4]
        if b"shutdown_request" not in header:
            return None
        if json.loads(header)["msg_type"] != "shutdown_request":
            return None
        return bool(json.loads(content).get("restart"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
