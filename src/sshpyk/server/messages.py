"""Messages as ZMQ carries them on this machine, and who has asked what. No I/O.

Local clients have a key of their own, which the server never sees: what comes from them is checked
here, and what comes from the server is signed here.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .framing import FramingError, to_bytes, to_object

#: Stands between the identities of whom it is for and the message.
DELIMITER = b"<IDS|MSG>"

#: Requests that are remembered: who asked the one before these gets no more late messages of it.
MOST_REMEMBERED = 10_000


class Signer:
    """Signs messages, and checks signatures, with the key of this machine's clients."""

    def __init__(self, key: bytes, scheme: str) -> None:
        name = scheme.removeprefix("hmac-")
        if scheme == name or name not in hashlib.algorithms_available:
            raise ValueError(f"the signature scheme {scheme!r}")
        self._hmac = hmac.new(key, digestmod=name) if key else None

    def pack(self, identities: Sequence[bytes], parts: Sequence[bytes]) -> list[bytes]:
        """The frames of a message."""
        return [*identities, DELIMITER, self._sign(parts), *parts]

    def unpack(self, frames: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """The identities and the parts. Raises `FramingError` where it is no message of theirs."""
        try:
            index = frames.index(DELIMITER)
        except ValueError:
            raise FramingError("a message without a delimiter") from None
        identities, parts = list(frames[:index]), list(frames[index + 2 :])
        if len(parts) < 4:
            raise FramingError("a message of too few parts")
        if not hmac.compare_digest(frames[index + 1], self._sign(parts)):
            raise FramingError("a message with a wrong signature")
        return identities, parts

    def _sign(self, parts: Sequence[bytes]) -> bytes:
        if self._hmac is None:
            return b""
        code = self._hmac.copy()
        for part in parts[:4]:
            code.update(part)
        return code.hexdigest().encode()


@dataclass(eq=False)
class Request:
    """What a local client has sent: on which `channel`, and where its answers go."""

    channel: str
    identities: list[bytes]
    header: bytes
    type: str
    id: str
    #: Whether the kernel answers those of its channel in the order in which they came.
    in_order: bool = True


@dataclass
class Requests:
    """Who has asked what; what has no answer yet is in `open`, in the order of asking."""

    open: dict[str, Request] = field(default_factory=dict)
    _known: dict[str, Request] = field(default_factory=dict)

    def add(self, channel: str, identities: list[bytes], header: bytes) -> Request:
        """A client has sent this. Raises `FramingError`."""
        fields = to_object(header)
        id, type = fields.get("msg_id"), fields.get("msg_type")
        if not isinstance(id, str) or not isinstance(type, str):
            raise FramingError("a header without msg_id or msg_type")
        in_order = fields.get("subshell_id") is None
        request = Request(channel, identities, header, type, id, in_order)
        self._known[id] = request
        if type.endswith("_request"):
            self.open[id] = request
        if len(self._known) > MOST_REMEMBERED:
            oldest = next(iter(self._known))
            del self._known[oldest]
        return request

    def find(self, id: object) -> Request | None:
        """The request that has this id."""
        return self._known.get(id) if isinstance(id, str) else None

    def answered(self, request: Request) -> None:
        """Its answer has come; who asked is still known, for what else comes of it."""
        self.open.pop(request.id, None)


def make(
    type: str, content: Mapping[str, Any], *, session: str, parent: bytes = b"{}"
) -> tuple[str, list[bytes]]:
    """The id and the parts of a message of our own."""
    id = uuid.uuid4().hex
    header = {
        "msg_id": id,
        "msg_type": type,
        "session": session,
        "username": "sshpyk",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": "5.3",
    }
    return id, [to_bytes(header), parent, b"{}", to_bytes(dict(content))]
