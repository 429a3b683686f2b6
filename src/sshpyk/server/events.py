"""Server-sent events, as far as Jupyter's services use them: JSON objects, one a `data:`. Pure."""

from __future__ import annotations

import json
from typing import Any

#: Bytes of one line: an event of theirs has a few hundred.
LONGEST = 64 * 1024


class Events:
    """Makes events of the bytes that come. What is no JSON object is left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False  # the rest of a line that is too long

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The events that are whole with `data`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            if not self._is_skipping and line.startswith(b"data:"):
                try:
                    event = json.loads(line[5:])
                except (ValueError, RecursionError):
                    event = None
                if isinstance(event, dict):
                    found.append(event)
            self._is_skipping = False
        if len(self._rest) > LONGEST:
            self._rest, self._is_skipping = b"", True
        return found
