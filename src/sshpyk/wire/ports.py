"""Ports: how a stream names one, and what a connection to it looks like in the stream.

A stream of a port is one connection to it. Its channel is "port " and the target: a port of the
host's loopback in digits, or the path of a unix socket; with "any " before it where it may be
another user's. In each direction there are records, a head of 5 bytes (type, length) and a payload:

====== ====== ===================================================
type   length payload
====== ====== ===================================================
BYTES  1 …    so many of the connection's bytes
END    0      none: this direction has ended, the other goes on
RESET  1 …    the connection is over, both ways, and why: a code
              of `WHY`, and after a blank what the system says
====== ====== ===================================================

Of these ends the stream knows nothing: its own close means both directions, and comes when both
have ended. So a half closed connection costs the five channels of a kernel nothing.
"""

from __future__ import annotations

import struct

from .frames import ProtocolError, part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple, Union

    from .frames import Data
    from .stream import Stream

PREFIX = "port "
ANY = "any "

HEAD = struct.Struct(">BI")

BYTES, END, RESET = range(1, 4)

#: The longest payload of each type.
LIMITS = {BYTES: 16 * 1024 * 1024, END: 0, RESET: 256}

#: Why there is no connection, or no more.
NOBODY = "nobody"  # nothing listens there
STRANGER = "stranger"  # what listens there is another user's
UNKNOWN = "unknown"  # the system does not tell whose it is
FAILED = "failed"  # the system says something else
BROKEN = "broken"  # it was there, and was reset
WHY = (NOBODY, STRANGER, UNKNOWN, FAILED, BROKEN)

#: Bytes of a unix socket's path: what Linux has room for.
LONGEST_PATH = 107

#: Characters of one URL that is told of, and how many of one message.
LONGEST_URL = 512
MOST_URLS = 8

#: Where a program listens that prints one of these.
_LOOPBACK = (b"localhost", b"127.0.0.1", b"0.0.0.0", b"[::1]", b"[::]")

#: TensorBoard's frame in a notebook has no URL: a script in it puts this port into the page's own.
_FRAME, _FRAME_PORT = b"tensorboard-frame-", b"const port = "

#: What ends a URL in a text that is JSON, and perhaps HTML within.
_ENDS = b" \t\r\n\"'<>\\`{}|^"


class Target:
    """What a port's stream leads to: `address` is a port of loopback or a unix socket's path.

    `is_anyones` is whether it may be another user's than the agent's.
    """

    def __init__(self, address: Union[int, str], *, is_anyones: bool = False) -> None:
        self.address = address
        self.is_anyones = is_anyones

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target that `text` names. Raises ValueError where it names none."""
        bare = text[len(ANY) :] if text.startswith(ANY) else text
        is_anyones = bare is not text
        if bare.startswith("/"):
            size = len(bare.encode("utf-8", "surrogateescape"))
            if size > LONGEST_PATH or "\0" in bare or "\n" in bare:
                raise ValueError(f"{bare!r:.200} is no path of a socket")
            return cls(bare, is_anyones=is_anyones)
        if bare.isascii() and bare.isdigit() and len(bare) <= 5 and 0 < int(bare) < 65536:
            return cls(int(bare), is_anyones=is_anyones)
        raise ValueError(f"{bare!r:.200} is no port, and no path of a socket")

    def __str__(self) -> str:
        return (ANY if self.is_anyones else "") + str(self.address)

    @property
    def channel(self) -> str:
        """The channel of its streams."""
        return PREFIX + str(self)


def target_of(channel: str) -> Optional[Target]:
    """The target of a port's stream, by its channel; None where that is no port's."""
    if not channel.startswith(PREFIX):
        return None
    try:
        return Target.parse(channel[len(PREFIX) :])
    except ValueError:
        return None


def record(type: int, payload: Data = b"") -> bytes:
    """A record's bytes. The payload's are copied, once: a head that travels by itself would be a
    piece of its own all the way, and cost as much time as the bytes of a quarter of a megabyte."""
    return b"".join((HEAD.pack(type, len(payload)), payload))


def reset(why: str, details: str = "") -> bytes:
    """The record that ends a connection for the reason `why`, one of `WHY`."""
    text = f"{why} {details}".encode("utf-8", "replace")[: LIMITS[RESET]]
    return record(RESET, text)


class Incoming:
    """What the other side of a port's connection has sent, without the heads of records.

    Once `peek` gives nothing, `has_ended` and `reset` tell whether there will be more.
    """

    def __init__(self, stream: Stream) -> None:
        self.has_ended = False
        self.reset: Optional[Tuple[str, str]] = None  # why, and what the system said
        self._stream = stream
        self._head = b""
        self._missing = 0  # bytes of the present record that are still to come

    def peek(self, now: float) -> Data:
        """The next bytes of the connection; empty while there are none.

        Raises `ProtocolError` where no peer of ours sends that.
        """
        stream = self._stream
        while True:
            piece = stream.peek()
            if not piece or self._missing:
                return part(piece, 0, self._missing)
            wanted = HEAD.size
            if len(self._head) >= HEAD.size:
                wanted += HEAD.unpack_from(self._head)[1]
            head = piece[: wanted - len(self._head)]
            self._head += head
            stream.consume(len(head), now)
            if len(self._head) >= HEAD.size:
                self._take_head()

    def _take_head(self) -> None:
        type, length = HEAD.unpack_from(self._head)
        if length > LIMITS.get(type, -1) or (not length and type != END):
            raise ProtocolError(f"a record of type {type} and {length} bytes")
        if self.reset is not None or (self.has_ended and type != RESET):
            raise ProtocolError("a record behind the end")
        if type == BYTES:
            self._missing = length
        elif type == END:
            self.has_ended = True
        elif len(self._head) < HEAD.size + length:
            return
        else:
            text = self._head[HEAD.size :].decode("utf-8", "replace")
            why, _, details = text.partition(" ")
            if why not in WHY:
                raise ProtocolError("a reset for an unknown reason")
            self.reset = why, details
        self._head = b""

    def consume(self, size: int, now: float) -> None:
        """Say that the first `size` bytes of `peek` were delivered at `now` (seconds)."""
        self._missing -= size
        self._stream.consume(size, now)


def urls_in(text: bytes) -> List[str]:
    """The URLs of this machine's loopback with a port of their own that `text` shows."""
    found: List[str] = []
    start = text.find(b"://")
    while start >= 0 and len(found) < MOST_URLS:
        scheme = b"https" if text[:start].endswith(b"https") else b"http"
        rest = text[start + 3 : start + 3 + LONGEST_URL]
        if text[:start].endswith(scheme):
            url = _url(scheme, rest)
            if url and url not in found:
                found.append(url)
        start = text.find(b"://", start + 3)
    if _FRAME in text:
        port = text.partition(_FRAME_PORT)[2][:6].partition(b";")[0]
        found += filter(None, [_url(b"http", b"localhost:" + port + b"/")])
    return found


def _url(scheme: bytes, rest: bytes) -> str:
    host = next((host for host in _LOOPBACK if rest.startswith(host + b":")), None)
    if host is None:
        return ""
    size = next((n for n, byte in enumerate(rest) if byte in _ENDS), len(rest))
    whole = rest[:size].rstrip(b".,;:!?)]*")
    after = whole[len(host) + 1 :]
    digits = after[: len(after) - len(after.lstrip(b"0123456789"))]
    is_port = 0 < len(digits) <= 5 and 0 < int(digits) < 65536
    path = after[len(digits) :]
    if not is_port or (path and path[:1] not in b"/?#"):
        return ""
    if not whole.isascii() or not whole.decode("ascii").isprintable():
        return ""  # nothing that a terminal would obey
    return f"{scheme.decode()}://localhost:{int(digits)}{path.decode()}"


def port_of(url: str) -> int:
    """The port in a URL of `urls_in`. Raises ValueError where it is no such URL."""
    found = urls_in(url.encode("utf-8", "replace"))
    if found != [url]:
        raise ValueError("no URL of loopback")
    digits = url.partition("://localhost:")[2]
    return int(digits[: len(digits) - len(digits.lstrip("0123456789"))])
