"""The agent's door: where carriers come in, and who has to show the token."""

from __future__ import annotations

import os
from _operator import _compare_digest as compare_digest
from _socket import AF_INET, AF_UNIX

from ..common.peers import is_stranger, proof
from ..common.sockets import Socket
from ..wire.channels import AGENT, CHANNELS
from ..wire.frames import WELCOME, Frame, ProtocolError
from ..wire.quickjson import loads
from . import records
from .connections import CarrierConnection
from .loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Protocol, Set

    from .client import Client
    from .kernel import Log
    from .loop import Loop

    class Owner(Protocol):
        """Whom the door asks for a client."""

        def client(self, id: str, *, known: bool) -> Client:
            """The client of the attachment `id`, a new one where it is not `known`.

            Raises `ProtocolError` where there can be none.
            """


#: The version of what is said on carriers. An agent is always of the version of the client that
#: launched it; one that reattaches may be another.
VERSION = 1

#: Connections that have not shown the token yet; more are closed at once.
MAX_STRANGERS = 64

#: Wrong tokens within so many seconds after which all hellos are refused until these are over.
MAX_TRIES, TRIES_WITHIN = 100, 60.0

#: The longest id of an attachment.
MAX_ID = 64


class Door:
    """The sockets that the agent listens on, and the connections that are nobody's yet.

    `directory` is where unix sockets are, `token` what lets a carrier in. `listening` maps channels
    to the paths or ports of their sockets.
    """

    def __init__(self, owner: Owner, loop: Loop, log: Log, directory: str, token: str) -> None:
        self.listening: Dict[str, Any] = {}
        self._families: Dict[str, Dict[str, Any]] = {}
        self._owner = owner
        self._loop = loop
        self._log = log
        self._directory = directory
        self._token = token
        self._listeners: List[Socket] = []
        self._strangers: Set[CarrierConnection] = set()
        self._tries: List[float] = []  # when wrong tokens came

    def listen(self, family: str) -> None:
        """Listen on six sockets, "unix" or "tcp": one a channel, so that each has a forward of
        its own. Those of the other family stay."""
        self.listening = self._families.setdefault(family, {})
        if self.listening:
            return
        for channel in (*CHANNELS, AGENT):
            if family == "unix":
                address: Any = os.path.join(self._directory, channel + ".sock")
                sock = self._listen(AF_UNIX, address, self._accept)
            else:
                sock = self._listen(AF_INET, ("127.0.0.1", 0), self._accept)
                address = sock.getsockname()[1]
            self.listening[channel] = address

    def listen_for_status(self, tell: Callable[[Socket], None]) -> None:
        """Call `tell` with who connects to `status.sock`, which only the user can."""
        path = os.path.join(self._directory, records.STATUS)
        self._listen(AF_UNIX, path, tell)

    def _listen(self, family: int, address: Any, serve: Callable[[Socket], None]) -> Socket:
        listener = Socket(family)
        listener.bind(address)
        listener.listen(64)
        listener.setblocking(False)

        def accept(events: int) -> None:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            serve(sock)

        self._listeners.append(listener)
        self._loop.watch(listener.fileno(), READ, accept)
        return listener

    def _accept(self, sock: Socket) -> None:
        if len(self._strangers) < MAX_STRANGERS and not is_stranger(sock):
            self._strangers.add(CarrierConnection(self._loop, sock, self, self))
        else:
            sock.close()

    def expire(self, now: float) -> List[float]:
        """Refuse whoever has sent no hello in time; returns when the others' time is over."""
        for stranger in list(self._strangers):
            if now >= stranger.expires:
                stranger.refuse("no hello came")
        return [stranger.expires for stranger in self._strangers]

    def carrier_ended(self, connection: CarrierConnection) -> None:
        """A connection that was nobody's is closed."""
        self._strangers.discard(connection)

    def refused(self, connection: CarrierConnection, why: str) -> None:
        """A connection is about to be closed for what came on it."""
        self._log.line(f"! carrier ended: {why}")

    def greet(self, connection: CarrierConnection, hello: bytes) -> None:
        """Let a carrier in, by its hello. Raises `ProtocolError` where it may not be here."""
        try:
            fields = loads(hello.decode("utf-8"))
            version, token = fields["version"], fields["token"]
            id, generation, oldest = fields["attachment"], fields["generation"], fields["oldest"]
            known, nonce = fields["known"], fields["nonce"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ProtocolError("a hello that is none") from None
        texts = all(isinstance(text, str) for text in (token, id, nonce)) and token.isascii()
        if not texts or type(generation) is not int or type(oldest) is not int:
            raise ProtocolError("a hello that is none")
        self._check(token)
        if not 0 < len(id) <= MAX_ID:
            raise ProtocolError("a hello that is none")
        if version != VERSION:
            raise ProtocolError(f"version {version!r:.20} of the protocol; this is {VERSION}")
        client = self._owner.client(id, known=bool(known))
        client.rests = bool(fields.get("rests"))
        if client.join(connection, generation, oldest):
            self._log.line(f"= attachment {id[:8]} connected, generation {generation}")
        self._strangers.discard(connection)
        connection.carrier.send(Frame(WELCOME, payload=proof(self._token, nonce)))

    def _check(self, token: str) -> None:
        """Raise `ProtocolError` unless it is our token."""
        now = self._loop.now()
        self._tries = [at for at in self._tries if now < at + TRIES_WITHIN]
        if len(self._tries) >= MAX_TRIES:
            raise ProtocolError("too many wrong tokens came; all are refused for a minute")
        if not compare_digest(token, self._token):
            self._tries.append(now)
            raise ProtocolError("a hello with a wrong token")

    def close(self) -> None:
        """Listen no more; connections stay."""
        for listener in self._listeners:
            self._loop.watch(listener.fileno(), 0, lambda events: None)
            listener.close()
        self._listeners.clear()
