"""The control messages: what the provisioner and the agent say to each other.

Each is a line of JSON on the control stream, an object with a "type" and the fields that
`SHAPES` lists for it. Requests carry a "number", and the agent answers each with "done" or
"failed" of that number; events carry none.
"""

from __future__ import annotations

from .exits import CAUSE, amount
from .frames import ProtocolError
from .ports import port_of
from .quickjson import dumps, loads
from .shapes import fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    Message = Dict[str, Any]

#: Bytes of one message at most: a launch request with a large environment is far below it.
MAX_MESSAGE = 4 * 1024 * 1024

_SECONDS = (int, float)
_MAYBE_NUMBER = (int, type(None))


def _url(value: Any) -> str:
    """A shape: a URL of loopback with a port, as `ports.urls_in` finds them."""
    try:
        port_of(value)
    except (ValueError, AttributeError):
        return "is no URL of loopback"
    return ""


#: The fields of each type of message, in the terms of `sshpyk.wire.shapes`.
SHAPES: Dict[str, Dict[str, Any]] = {
    # requests
    "start": {"number": int, "kernel": dict},  # again, in place; {}: as before
    "signal": {"number": int, "signum": int},  # to the kernel's process group
    "state": {"number": int},
    "settings": {"number": int, "persistent": bool, "lease": _SECONDS},
    "attached": {"number": int},  # the agent need not end with the session of its launch
    "watch": {"number": int},  # have "activity" told from now on
    # whether anybody sees the output that this client gets; "resumed": the same who did before, and
    # has got all of it. Whoever sees it tells up to which message it is saved: "seen".
    "seeing": {"number": int, "seeing": bool, "resumed": bool},
    "seen": {"number": int, "message": str},
    "memory_wanted": {"number": int},  # have "memory" told from now on
    "urls": {"number": int},  # have "url" told from now on, and those that there are
    "leave": {"number": int},  # this attachment ends, the kernel goes on
    "end": {"number": int},  # the kernel ends, and the agent with it
    # answers
    "done": {"number": int, "result": dict},
    "failed": {"number": int, "error": dict},
    # events
    "bound": {"pid": int},  # the kernel's five sockets are there
    "exited": {
        "pid": int,
        "code": _MAYBE_NUMBER,
        "signum": _MAYBE_NUMBER,
        "stderr": str,  # its last lines
        "note": str,  # what the agent knows of the reason
        "peak?": amount,  # the most memory that its process used, in bytes
        "cause?": CAUSE,  # what the host knows of the reason
    },
    "activity": {"busy": (bool, type(None)), "since": _SECONDS},  # since is time.time()
    "url": {"url": _url},  # the kernel has printed it, and something of its user's listens there
    # the memory that the kernel may use is almost full: told once; null: there is room again
    "memory": {"short?": {"used": amount, "limit": amount, "machine": bool}},
    "notice": {"text": str},  # for the user: the spool is full, and the like
}


def encode(type: str, **fields: Any) -> bytes:
    """The line that is this message."""
    return dumps(dict(fields, type=type)).encode("ascii") + b"\n"


class MessageReader:
    """Turns the control stream's bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> List[Message]:
        """Give bytes, get the messages that they complete.

        Raises `ProtocolError` where a line is no message of ours.
        """
        self._buffer += data
        lines: List[bytes] = []
        if b"\n" in data:
            *lines, rest = bytes(self._buffer).split(b"\n")
            self._buffer[:] = rest
        if max(map(len, (self._buffer, *lines))) > MAX_MESSAGE:
            raise ProtocolError(f"a control message of more than {MAX_MESSAGE} bytes")
        return [_check(line) for line in lines]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check(line: bytes) -> Message:
    try:
        message = loads(line.decode("utf-8"), _refuse)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a control message that is no JSON: {error}") from None
    type = message.get("type") if isinstance(message, dict) else None
    shape = SHAPES.get(type) if isinstance(type, str) else None
    if shape is None:
        raise ProtocolError("a control message of unknown type")
    said = fault(message, shape, f"a {type} message")
    if said:
        raise ProtocolError(said)
    result: Message = message
    return result
