"""Says of a socket that nobody has closed where it was made.

It is noticed when it is collected, often in another test than the one that has left it.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from itertools import islice
from types import SimpleNamespace
from typing import Any

#: Frames that are kept of each place.
FRAMES = 12

#: By the socket's address in memory: the places where one was made, the innermost first.
_made: dict[int, list[tuple[str, int, str]]] = {}


def note() -> None:
    """From now on, in this process. After pytest has set its own `sys.unraisablehook`."""
    sys.addaudithook(_audit)
    tell = sys.unraisablehook

    def told(unraisable: Any) -> None:
        if isinstance(unraisable.object, socket.socket) and id(unraisable.object) in _made:
            places = _made[id(unraisable.object)]
            found = [f"{os.path.relpath(path)}:{line} {name}" for path, line, name in places]
            said = f"made at {', '.join(found)}; {unraisable.err_msg or 'Exception ignored in'}"
            names = ("exc_type", "exc_value", "exc_traceback", "object")
            fields = {name: getattr(unraisable, name) for name in names}
            unraisable = SimpleNamespace(err_msg=said, **fields)
        tell(unraisable)

    sys.unraisablehook = told


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.__new__":
        frames = islice(traceback.walk_stack(sys._getframe(1)), FRAMES)
        _made[id(args[0])] = [
            (frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames
        ]
