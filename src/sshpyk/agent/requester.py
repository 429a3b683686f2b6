"""Asks a kernel of this host to run code, as any Jupyter client does, over ZMTP 3 by hand.

Messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html; frames: RFC 23
(https://rfc.zeromq.org/spec/23/). Kernels that speak CURVE can't be asked.
"""

from __future__ import annotations

import hmac
import os
import time

from ..wire.quickjson import dumps, loads
from ..wire.zmtp import HANDSHAKE, SUBSCRIBE, Reader, message_of
from .kernel import connect
from .loop import Eager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple

    from .kernel import Address
    from .loop import Loop

    #: What came: the channel, and a message's header, parent header and content, as bytes.
    Took = Callable[[str, bytes, bytes, bytes], None]

DELIMITER = b"<IDS|MSG>"

#: Bytes of a message that are kept: all, whatever it takes. The kernel has it in memory, too.
ALL = 1 << 40

#: The greeting of a client on shell; that of a subscriber, with another word for what it is.
_READY = b"\x05READY" + b"\x0bSocket-Type\x00\x00\x00\x06DEALER"
SHELL_HANDSHAKE = HANDSHAKE[:64] + b"\x04" + bytes([len(_READY)]) + _READY


class Requester:
    """Connections to a kernel's shell and iopub. `connection` is its connection file; `took` gets
    each message, `on_ready` tells when both are there, `on_closed` when one has ended."""

    def __init__(
        self,
        loop: Loop,
        connection: Dict[str, Any],
        took: Took,
        on_ready: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.took = took
        self.on_closed = on_closed
        self._on_ready = on_ready
        self._key = str(connection["key"]).encode("ascii")
        self._digest = str(connection["signature_scheme"]).partition("-")[2]
        self._session = os.urandom(16).hex()
        self._count = 0
        self._iopub = Channel(self, loop, "iopub", connection, HANDSHAKE)
        self._shell = Channel(self, loop, "shell", connection, SHELL_HANDSHAKE)

    def ready(self, channel: Channel) -> None:
        """A channel's other end has greeted."""
        if channel is self._iopub:
            channel.send([SUBSCRIBE])
        if self._iopub.reader.is_ready and self._shell.reader.is_ready:
            self._on_ready()

    def ask(self, kind: str, content: Dict[str, Any]) -> str:
        """Send a request on shell; its msg_id."""
        self._count += 1
        id = f"{self._session}_{self._count}"
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        header = {"msg_id": id, "msg_type": kind, "session": self._session, "username": "sshpyk"}
        header.update(date=date, version="5.3")
        parts = [dumps(part).encode("ascii") for part in (header, {}, {}, content)]
        sign = hmac.new(self._key, digestmod=self._digest)
        for part in parts:
            sign.update(part)
        signature = sign.hexdigest().encode("ascii") if self._key else b""
        self._shell.send([message_of([DELIMITER, signature, *parts])])
        return id

    def read(self, wanted: bool) -> None:
        """Say whether anything is wanted for now."""
        self._iopub.read(wanted)
        self._shell.read(wanted)

    def close(self) -> None:
        """Close both connections."""
        self._iopub.close()
        self._shell.close()


class Channel(Eager):
    """One connection to the kernel."""

    def __init__(
        self,
        requester: Requester,
        loop: Loop,
        name: str,
        connection: Dict[str, Any],
        handshake: bytes,
    ) -> None:
        self.name = name
        self.reader = Reader(keep=ALL)
        self._requester = requester
        sock, is_connected = connect(address_of(connection, name))
        super().__init__(loop, sock, is_connected=is_connected)
        self.send([handshake])

    def take_in(self, data: bytes) -> None:
        was_ready = self.reader.is_ready
        offset = 0
        while offset < len(data):
            offset = self.reader.read(data, offset)
            if self.reader.has_ended:
                try:
                    start = self.reader.frames.index(DELIMITER) + 2
                    header, parent, _, content = self.reader.frames[start : start + 4]
                except ValueError:
                    continue  # an iopub_welcome, or nothing of Jupyter's
                self._requester.took(self.name, header, parent, content)
        if self.reader.is_ready and not was_ready and not self.is_closed:
            self._requester.ready(self)

    def on_closed(self) -> None:
        self._requester.on_closed()


def address_of(connection: Dict[str, Any], channel: str) -> Address:
    """Where a connection file says that the kernel listens."""
    port = int(connection[channel + "_port"])
    if connection["transport"] == "ipc":
        return f"{connection['ip']}-{port}"
    return (str(connection["ip"]), port)


def parsed(*parts: bytes) -> Tuple[Dict[str, Any], ...]:
    """What parts of a message say; an empty object for what is none."""
    found = []
    for part in parts:
        try:
            value = loads(part.decode("utf-8"))
        except (ValueError, RecursionError):
            value = None
        found.append(value if isinstance(value, dict) else {})
    return tuple(found)
