"""The way to agents where nothing is forwarded: all connections over one program on the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..aio import within
from ..wire.frames import ProtocolError
from ..wire.mux import DATA, REFUSED, Mux
from .base import Dialer, Identity, Listening, Program, Transport
from .jobs import Job

#: Seconds for the program to begin, in which it may wait for a session.
BEGIN_WITHIN = 20.0

#: Seconds without a word, after something was sent, from which no new dialer uses it: less than a
#: link waits for its agent's welcome.
SILENT = 4.0

#: Bytes of one connection that wait before its protocol is told to pause, unless it says otherwise.
HIGH = 64 * 1024


class Relay:
    """One relay program, with its pipe and the connections over it; it ends with its last dialer.

    `identity` is the connection to the host that it was begun on.
    """

    def __init__(self, job: Job, identity: Identity | None) -> None:
        self.identity = identity
        self.is_over = False
        self.dialers: set[RelayDialer] = set()
        self.mux = Mux(is_client=True)
        self.connections: dict[int, RelayConnection] = {}
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._has_more = asyncio.Event()
        self._unanswered_since: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(cls, transport: Transport, python: str, pythonhome: str | None) -> Relay:
        """Start the program by the host's `python`.

        Raises one of `sshpyk.errors`, and TimeoutError after `BEGIN_WITHIN` seconds.
        """
        identity = transport.identity()
        job = Job(transport, python, {"do": "relay"}, pythonhome, is_lasting=True)
        await job.__aenter__()
        try:
            await within(BEGIN_WITHIN, job.answer())
        except BaseException:
            await job.__aexit__()
            raise
        relay = cls(job, identity)
        program = job.program
        relay._tasks = [
            asyncio.create_task(relay._read(program, job.rest)),
            asyncio.create_task(relay._write(program)),
        ]
        return relay

    def is_usable(self, identity: Identity | None) -> bool:
        """Whether a new dialer may use it: not where there is another connection to the host, nor
        where it owes an answer for too long, for then it may have been stopped."""
        since = self._unanswered_since
        is_silent = since is not None and self._loop.time() - since > SILENT
        is_in_use = bool(self.dialers) and not self.is_over
        return is_in_use and not is_silent and self.identity == identity

    def has_more(self) -> None:
        """There is something to be sent."""
        self._has_more.set()

    async def _read(self, program: Program, data: bytes) -> None:
        why = "the relay has ended"
        try:
            while True:
                self._receive(data)
                data = await program.read()
                if not data:
                    break
        except ProtocolError as error:
            why = f"the relay is none: {error}"
        finally:
            self._end(why)

    def _receive(self, data: bytes) -> None:
        if data:
            self._unanswered_since = None
        for event in self.mux.receive(data):
            connection = self.connections.get(event.connection)
            if connection is None:
                continue
            if event.type == DATA:
                connection.protocol.data_received(event.payload)
                self.mux.consumed(event.connection, len(event.payload))
            elif event.type == REFUSED:
                why = event.payload.decode("utf-8", "replace")
                connection.lose(ConnectionRefusedError(why))
            else:
                connection.lose(None)
        self.has_more()

    async def _write(self, program: Program) -> None:
        try:
            while True:
                self._has_more.clear()
                while data := self.mux.next():
                    if self._unanswered_since is None:
                        self._unanswered_since = self._loop.time()
                    program.write(data)
                    await program.drain()
                    for connection in list(self.connections.values()):
                        connection.has_room()
                await self._has_more.wait()
        except OSError:
            self._end("the relay has ended")

    def _end(self, why: str) -> None:
        if not self.is_over:
            self.is_over = True
            for connection in list(self.connections.values()):
                connection.lose(ConnectionAbortedError(why))

    async def close(self) -> None:
        """End the program, and with it all connections."""
        self._end("the relay was closed")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._job.__aexit__()


class RelayConnection(asyncio.Transport):
    """A connection to an agent, as asyncio's transports are; it can't be told to read less."""

    def __init__(self, relay: Relay, id: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self._relay = relay
        self._id = id
        self._high, self._low = HIGH, HIGH // 4
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self._is_closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return self._relay.mux.waiting(self._id)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closing:
            return
        self._relay.mux.write(self._id, bytes(data))
        self._relay.has_more()
        if not self._is_paused and self.get_write_buffer_size() > self._high:
            self._is_paused = True
            self.protocol.pause_writing()

    def has_room(self) -> None:
        """Called by the relay: some of what waited may have been sent."""
        if self._is_closing:
            if not self._relay.mux.is_open(self._id):
                self.lose(None)
        elif self._is_paused and self.get_write_buffer_size() <= self._low:
            self._is_paused = False
            self.protocol.resume_writing()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._relay.mux.close(self._id)
            self._relay.has_more()

    def abort(self) -> None:
        self._is_closing = True
        self._relay.mux.abort(self._id)
        self._relay.has_more()
        asyncio.get_running_loop().call_soon(self.lose, None)

    def lose(self, why: Exception | None) -> None:
        """Called by the relay: it has ended."""
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            self._relay.connections.pop(self._id, None)
            self.protocol.connection_lost(why)


class RelayDialer(Dialer):
    """Through a relay to one agent."""

    def __init__(self, relay: Relay, listening: Listening) -> None:
        self._relay = relay
        self._listening = listening
        self._mine: list[RelayConnection] = []
        relay.dialers.add(self)

    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Where the agent's socket takes no connection, it is lost soon after."""
        relay = self._relay
        if self not in relay.dialers or relay.is_over:
            raise ConnectionAbortedError("the relay has ended")
        id = relay.mux.open(str(self._listening[channel]))
        made = protocol()
        connection = relay.connections[id] = RelayConnection(relay, id, made)
        self._mine = [other for other in self._mine if not other.is_closing()] + [connection]
        relay.has_more()
        made.connection_made(connection)

    async def close(self) -> None:
        for connection in self._mine:
            connection.abort()
        self._relay.dialers.discard(self)
        if not self._relay.dialers:
            await asyncio.shield(asyncio.ensure_future(self._relay.close()))
