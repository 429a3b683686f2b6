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
from .client import Client
from .connections import CarrierConnection
from .loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Set

    from .serve import Agent

#: The version of what is said on carriers. An agent is always of the version of the client that
#: launched it; one that reattaches may be another.
VERSION = 1

#: Connections that have not shown the token yet; more are closed at once.
MAX_STRANGERS = 64

#: Wrong tokens that are heard within so many seconds; then nobody's is looked at until they are
#: over.
MAX_TRIES, TRIES_WITHIN = 100, 60.0

#: Attachments at once: each of them is a program that somebody has started.
MAX_CLIENTS = 256

#: The longest id of an attachment.
MAX_ID = 64


class Door:
    """The sockets that the agent listens on, and the connections that are nobody's yet.

    `listening` maps channels to the paths or ports of their sockets.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.listening: Dict[str, Any] = {}
        self._listeners: List[Socket] = []
        self._strangers: Set[CarrierConnection] = set()
        self._tries: List[float] = []  # when wrong tokens came

    def listen(self, family: str) -> None:
        """Listen on six sockets, "unix" or "tcp": one a channel, so that each has a forward of
        its own."""
        for channel in (*CHANNELS, AGENT):
            if family == "unix":
                address: Any = os.path.join(self.agent.sockets, channel + ".sock")
                sock = self._listen(AF_UNIX, address, self._accept)
            else:
                sock = self._listen(AF_INET, ("127.0.0.1", 0), self._accept)
                address = sock.getsockname()[1]
            self.listening[channel] = address

    def listen_for_status(self, tell: Callable[[Socket], None]) -> None:
        """Call `tell` with who connects to `status.sock`, which only the user can."""
        path = os.path.join(self.agent.sockets, records.STATUS)
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
        self.agent.loop.watch(listener.fileno(), READ, accept)
        return listener

    def _accept(self, sock: Socket) -> None:
        if len(self._strangers) < MAX_STRANGERS and not is_stranger(sock):
            self._strangers.add(CarrierConnection(self.agent, sock))
        else:
            sock.close()

    def expire(self, now: float) -> List[float]:
        """Close on whoever has said nothing; when the others will have."""
        for stranger in list(self._strangers):
            if now >= stranger.expires:
                stranger.refuse("no hello came")
        return [stranger.expires for stranger in self._strangers]

    def forget(self, connection: CarrierConnection) -> None:
        """A connection has gone, or is somebody's now."""
        self._strangers.discard(connection)

    def greet(self, connection: CarrierConnection, payload: bytes) -> None:
        """A carrier says who it is. Raises `ProtocolError` where it may not be here."""
        agent = self.agent
        try:
            hello = loads(payload.decode("utf-8"))
            version, token = hello["version"], hello["token"]
            id, generation, oldest = hello["attachment"], hello["generation"], hello["oldest"]
            known, nonce = hello["known"], hello["nonce"]
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
        if connection.client is not None:
            raise ProtocolError("a second hello")
        client = agent.clients.get(id)
        if client is None:
            if known:
                raise ProtocolError("an attachment that is no more")
            if len(agent.clients) >= MAX_CLIENTS:
                raise ProtocolError(f"more than {MAX_CLIENTS} attachments")
            client = agent.clients[id] = Client(agent, id)
            agent.log.line(f"= attachment {id[:8]} begins")
        attachment = client.attachment
        if generation < attachment.generation:
            raise ProtocolError("a carrier of an earlier connection")
        if generation > attachment.generation:
            attachment.generation = generation
            agent.log.line(f"= attachment {id[:8]} connected, generation {generation}")
            for old in list(client.carriers):
                old.close()
                agent.carrier_closed(old)
        self.forget(connection)
        client.take(connection, oldest)
        connection.carrier.send(Frame(WELCOME, payload=proof(agent.token, nonce)))

    def _check(self, token: str) -> None:
        """Raise `ProtocolError` unless it is our token."""
        now = self.agent.loop.now()
        self._tries = [at for at in self._tries if now < at + TRIES_WITHIN]
        if len(self._tries) >= MAX_TRIES:
            raise ProtocolError("too many wrong tokens came; none is looked at for a minute")
        if not compare_digest(token, self.agent.token):
            self._tries.append(now)
            raise ProtocolError("a hello with a wrong token")

    def close(self) -> None:
        """Listen no more; connections stay."""
        for listener in self._listeners:
            self.agent.loop.watch(listener.fileno(), 0, lambda events: None)
            listener.close()
        self._listeners.clear()
