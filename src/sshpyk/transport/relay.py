"""The way to agents where nothing is forwarded: all connections over one program on the host."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..wire.frames import ProtocolError
from ..wire.mux import DATA, REFUSED, Mux
from .base import Dialer, Identity, Listening, Transport
from .jobs import Job

if TYPE_CHECKING:
    from ..wire.requests import RelayRequest

#: Seconds for the program to begin, in which it may wait for a session.
BEGIN_WITHIN = 20.0

#: Seconds of silence after which what is sent has to be answered, and those for the answer, after
#: which no new dialer uses it: less than a link waits for its agent.
PING_AFTER = 1.0
SILENT = 4.0

#: Bytes of one connection that wait before its protocol is told to pause, unless it says otherwise.
HIGH = 64 * 1024


class Relay:
    """One relay program, with its pipe and the connections over it; it ends with its last dialer.

    `identity` is the connection to the host that it was begun on; `owner` ends the program.
    """

    def __init__(
        self, job: Job, identity: Identity | None, owner: contextlib.AsyncExitStack
    ) -> None:
        self.identity = identity
        self.is_over = False
        self.dialers: set[RelayDialer] = set()
        self.mux = Mux(is_client=True)
        self.connections: dict[int, RelayConnection] = {}
        self.waiting: set[RelayConnection] = set()  # for room, or for their end to be sent
        self._program = job.program
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._has_more = asyncio.Event()
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self._tasks = [
            self._loop.create_task(self._read(job.rest)),
            self._loop.create_task(self._write()),
        ]

    @classmethod
    async def begin(cls, transport: Transport, python: str, pythonhome: str | None) -> Relay:
        """Start the program by the host's `python`.

        Raises one of `sshpyk.errors`: `NoRoom` where there is no session for it within
        `BEGIN_WITHIN` seconds.
        """
        identity = transport.identity()
        async with contextlib.AsyncExitStack() as owner:
            request: RelayRequest = {"do": "relay", "is_watched": transport.keeps_watch}
            job = Job(transport, python, request, pythonhome, is_lasting=True)
            await owner.enter_async_context(job)
            try:
                await within(BEGIN_WITHIN, job.answer())
            except TimeoutError:
                raise job.timed_out(BEGIN_WITHIN) from None
            return cls(job, identity, owner.pop_all())

    def is_usable(self, identity: Identity | None) -> bool:
        """Whether a new dialer may use it: not where there is another connection to the host, nor
        where it owes an answer for too long, for then it may have been stopped."""
        since = self._pinged_at
        is_silent = since is not None and self._loop.time() - since > SILENT
        is_in_use = bool(self.dialers) and not self.is_over
        return is_in_use and not is_silent and self.identity == identity

    def has_more(self) -> None:
        """There is something to be sent: it goes at once, as far as the pipe takes it."""
        if self._has_more.is_set() or self.is_over:
            return
        while self._send():
            if self.waiting or not self._program.has_taken_all:
                self._has_more.set()
                return

    async def _read(self, data: bytes) -> None:
        why = "the relay has ended"
        try:
            self._receive(data)
            await self._program.pour(self._receive)
        except ProtocolError as error:
            why = f"what the host sent in place of the relay's bytes is {error}"
        finally:
            said = self._program.stderr.decode("utf-8", "replace").strip()
            self._end(f"{why}; it said last:\n{said[-1000:]}" if said else why)

    def _receive(self, data: bytes) -> None:
        if data:
            self._heard_at = self._loop.time()
            self._pinged_at = None
        try:
            events = self.mux.receive(data)
        except ProtocolError as error:
            raise ProtocolError(f"{error}: {data[:80]!r}") from None
        for event in events:
            connection = self.connections.get(event.connection)
            if event.type == DATA:
                payload = event.payload
                if connection is not None:
                    connection.receive(payload)
                self.mux.consumed(event.connection, len(payload))
            elif connection is not None and event.type == REFUSED:
                why = event.payload.decode("utf-8", "replace")
                connection.lose(ConnectionRefusedError(why))
            elif connection is not None:
                connection.lose(None)
        self.has_more()

    async def _write(self) -> None:
        """Send what there is as the pipe takes it, and no more than that: what has been written
        goes out before all that comes later, however urgent."""
        try:
            while True:
                await self._has_more.wait()
                is_sending = True
                while is_sending:
                    await self._program.drain()
                    for connection in list(self.waiting):
                        connection.has_room()
                    is_sending = self._send()
                self._has_more.clear()
        except OSError:
            pass  # its end is found by who reads

    def _send(self) -> bool:
        """Send a piece; whether there was one. After a silence it has to be answered."""
        data = self.mux.next()
        if not data:
            return False
        self._program.write(data)
        now = self._loop.time()
        if self._pinged_at is None and now - self._heard_at > PING_AFTER:
            self._pinged_at = now
            self.mux.ping()
        return True

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
        await asyncio.wait(self._tasks)
        await self._owner.aclose()


class RelayConnection(asyncio.Transport):
    """A connection to an agent, as asyncio's transports are.

    It can't be told to read less: who gets it, a carrier's protocol, takes what comes.
    """

    def __init__(self, relay: Relay, id: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self._relay = relay
        self._id = id
        self._loop = asyncio.get_running_loop()
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
            self._relay.waiting.add(self)
            self.protocol.pause_writing()

    def receive(self, data: bytes) -> None:
        """Called by the relay: bytes came."""
        if self._is_closing:
            return
        try:
            self.protocol.data_received(data)
        except Exception as error:  # a defect of one kernel's must not end the others' connections
            self._loop.call_exception_handler(
                {"message": "data_received of a relayed connection failed", "exception": error}
            )
            self.abort()

    def has_room(self) -> None:
        """Called by the relay: some of what waited may have been sent."""
        if self._is_closing:
            if not self._relay.mux.is_open(self._id):
                self.lose(None)
        elif self.get_write_buffer_size() <= self._low:
            self._is_paused = False
            self._relay.waiting.discard(self)
            self.protocol.resume_writing()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._relay.waiting.add(self)
            self._relay.mux.close(self._id)
            self._relay.has_more()

    def abort(self) -> None:
        self._is_closing = True
        self._relay.mux.abort(self._id)
        self._relay.has_more()
        self._loop.call_soon(self.lose, None)

    def lose(self, why: Exception | None) -> None:
        """Called by the relay: it has ended."""
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            self._relay.waiting.discard(self)
            self._relay.connections.pop(self._id, None)
            self.protocol.connection_lost(why)


class RelayDialer(Dialer):
    """Through a relay to one agent."""

    carriers = 1  # all go through one pipe

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


class SharedRelay:
    """The relay of a transport's connection, for all links to its host: begun when it is needed."""

    def __init__(self, transport: Transport) -> None:
        self.relay: Relay | None = None
        self._transport = transport
        self._lock = asyncio.Lock()  # one at a time begins one

    async def dialer(self, listening: Listening) -> Dialer | None:
        """A dialer through it; None where no Python is known, which a probe finds.

        Raises what `Relay.begin` does.
        """
        transport = self._transport
        async with self._lock:
            if self.relay is None or not self.relay.is_usable(transport.identity()):
                if transport.python is None:
                    return None
                self.relay = None  # one that still runs ends with its last dialer
                try:
                    self.relay = await Relay.begin(transport, *transport.python)
                except errors.RemoteError:
                    transport.python = None  # it may be gone, and others not
                    raise
            return RelayDialer(self.relay, listening)
