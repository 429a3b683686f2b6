"""Whether a kernel has said on iopub that it is idle. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..wire.frames import Data

#: In a message's content; in a text that a kernel prints the quotes are escaped.
IDLE = re.compile(rb'"execution_state"\s*:\s*"idle"')

#: Bytes within which it is found however the pieces are cut.
LONGEST = 64


class IdleWatch:
    """Looks through what one client gets on iopub, from anywhere in it on."""

    def __init__(self) -> None:
        self.seen = False
        self._end = b""

    def feed(self, data: Data) -> None:
        """The client gets `data`."""
        if not self.seen:
            whole = self._end + bytes(data)
            self.seen = IDLE.search(whole) is not None
            self._end = whole[-LONGEST:]
