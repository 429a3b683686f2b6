"""What browsers are told, through the one connection that Jupyter Server has for events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_events import EventLogger

#: Names our events; the front end knows it, too.
SCHEMA = "https://sshpyk.invalid/events/v1"

_TEXT = {"type": ["string", "null"]}

#: All that is told is an object whose `about` says of what.
_SHAPE = {
    "$id": SCHEMA,
    "version": "1",
    "title": "sshpyk",
    "description": "The state of a remote kernel has changed, or a login has.",
    "type": "object",
    "required": ["about"],
    "properties": {
        "about": {"type": "string", "enum": ["kernel", "logins"]},
        "kernel": {
            "type": "object",
            "required": ["kernel_id", "host", "state"],
            "properties": {"kernel_id": _TEXT, "host": _TEXT, "state": _TEXT},
        },
    },
}


class Events:
    """Tells them, on the event loop on which it was made: Jupyter Server's."""

    def __init__(self, logger: EventLogger) -> None:
        self._logger = logger
        if SCHEMA not in logger.schemas:
            logger.register_event_schema(_SHAPE)

    def tell(self, about: str, **more: Any) -> None:
        """Tell all browsers that are there."""
        self._logger.emit(schema_id=SCHEMA, data={"about": about, **more})


def call_there(loop: asyncio.AbstractEventLoop, work: Any, *arguments: Any) -> None:
    """Have `work` called on `loop`, if that still runs; from any thread."""
    with contextlib.suppress(RuntimeError):  # it has closed: the server ends
        loop.call_soon_threadsafe(work, *arguments)
