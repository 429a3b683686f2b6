"""Keeps shutdown requests of local clients from a kernel that is not ours to end by them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable

from .rewriting import Rewriter

#: Bytes of a message that may be a shutdown request.
LARGEST = 64 * 1024


class Filter(Rewriter):
    """What one client sends on the control channel, without its shutdown requests.

    `on_shutdown` is called with each, and whether it is part of a restart.
    """

    def __init__(self, on_shutdown: Callable[[bool], None]) -> None:
        super().__init__(LARGEST)
        self._on_shutdown = on_shutdown

    def _rewrite(self, message: bytes, frames: list[bytes]) -> bytes:
        is_restart = _shutdown(frames)
        if is_restart is None:
            return message
        self._on_shutdown(is_restart)
        return b""


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
