"""The way to agents where nothing is forwarded: all connections over one program on the host."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
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

#: Seconds for a further program that is to carry more, and how many there may be beside the first,
#: where the host is far: from so many seconds of a round trip on, ssh's window of 2 MiB is what
#: limits a session, to 70 MB/s. sshd allows ten sessions.
MORE_WITHIN = 2.0
MORE = 2
FAR = 0.03

#: Bytes of one connection that wait before its protocol is told to pause, unless it says otherwise.
HIGH = 64 * 1024


class Relay:
    """One relay program, with its pipe and the connections over it; it ends with its last dialer.

    `identity` is the connection to the host that it was begun on; `owner` ends the program; `again`
    begins one more.
    """

    def __init__(
        self,
        job: Job,
        identity: Identity | None,
        owner: contextlib.AsyncExitStack,
        again: Callable[[], Awaitable[Relay]],
    ) -> None:
        self.identity = identity
        self.round_trip = float("inf")  # seconds, the shortest that was seen
        self._again = again
        self._first = self  # of those that carry together
        self._more: dict[int, Relay] = {}  # the others, if this is the first; they end with it
        self._more_lock = asyncio.Lock()
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
    async def begin(
        cls,
        transport: Transport,
        python: str,
        pythonhome: str | None,
        timeout: float = BEGIN_WITHIN,
        *,
        waits_for_room: bool = True,
    ) -> Relay:
        """Start the program by the host's `python`.

        Raises one of `sshpyk.errors`: `NoRoom` where there is no session for it within `timeout`
        seconds, or at once unless it `waits_for_room`.
        """
        identity = transport.identity()
        async with contextlib.AsyncExitStack() as owner:
            request: RelayRequest = {"do": "relay", "is_watched": transport.keeps_watch}
            job = Job(
                transport,
                python,
                request,
                pythonhome,
                is_lasting=True,
                waits_for_room=waits_for_room,
            )
            await owner.enter_async_context(job)
            try:
                await within(timeout, job.answer())
            except TimeoutError:
                raise job.timed_out(timeout) from None
            again = functools.partial(cls.begin, transport, python, pythonhome, MORE_WITHIN)
            return cls(job, identity, owner.pop_all(), again)

    async def more(self, number: int) -> Relay | None:
        """The program of that `number` beside this one, begun when it is needed; None where there
        can be none."""
        async with self._more_lock:
            found = self._more.get(number)
            if found is None or found.is_over:
                try:
                    found = await self._again()
                except (errors.SshpykError, OSError):
                    return None
                if self.is_over:  # meanwhile
                    await found.close()
                    return None
                found._first = self
                self._more[number] = found
            return found

    def is_usable(self, identity: Identity | None) -> bool:
        """Whether a new dialer may use it: not where there is another connection to the host, nor
        where it owes an answer for too long, for then it may have been stopped."""
        is_in_use = bool(self.dialers) and not self.is_over
        return is_in_use and not self.is_silent and self.identity == identity

    @property
    def is_silent(self) -> bool:
        """Whether it owes an answer for too long."""
        since = self._pinged_at
        return since is not None and self._loop.time() - since > SILENT

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
        self._look_after_others()
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

    def _look_after_others(self) -> None:
        """Ask those that carry together with this one, which is heard, whether they are alive.

        What went into one that was stopped may stay there for good, and no link notices, for it
        hears of its agent. So all links connect anew, and agents send it again.
        """
        first = self._first
        for other in [first, *first._more.values()]:
            if other is self or not other.connections:
                continue
            if other.is_silent:
                first._end("one of the sessions that carry its bytes does not answer")
            else:
                other.ask()

    def ask(self) -> None:
        """Ask for a sign of life, if there was none for a while."""
        now = self._loop.time()
        if self._pinged_at is None and now - self._heard_at > PING_AFTER:
            self._pinged_at = now
            self.mux.ping()
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
        self.ask()
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
        for other in self._more.values():
            await other.close()
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
        self._dialled_at: float | None = self._loop.time()  # until it is heard
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
        if self._dialled_at is not None:
            took = self._loop.time() - self._dialled_at
            self._relay.round_trip = min(self._relay.round_trip, took)
            self._dialled_at = None
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
    """Through a relay to one agent; with up to `more` programs beside it for what brings much."""

    def __init__(self, relay: Relay, listening: Listening, more: int = 0) -> None:
        self._relay = relay
        self._listening = listening
        self._more = more
        self._mine: list[RelayConnection] = []
        relay.dialers.add(self)

    @property
    def carriers(self) -> int:
        # All go through one pipe: without more of these, more of them carry nothing faster.
        return 1 + (self._more if FAR < self._relay.round_trip < float("inf") else 0)

    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Where the agent's socket takes no connection, it is lost soon after."""
        self._dial_by(self._relay, channel, protocol)

    async def dial_more(
        self, channel: str, protocol: Callable[[], asyncio.Protocol], number: int
    ) -> None:
        relay = await self._relay.more(number)
        if relay is None:
            self._more = 0  # the host has no room, and others want sessions too
            raise ConnectionRefusedError("there is no further session")
        self._dial_by(relay, channel, protocol)

    def _dial_by(
        self, relay: Relay, channel: str, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        if self not in self._relay.dialers or self._relay.is_over or relay.is_over:
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
    """The relay of a transport's connection, for all links to its host: begun when it is needed.

    With up to `more` programs beside it where the host is far.
    """

    def __init__(self, transport: Transport, more: int = 0) -> None:
        self._more = more
        self.relay: Relay | None = None
        self._transport = transport
        self._lock = asyncio.Lock()  # one at a time begins one
        self._holding: set[asyncio.Task[None]] = set()  # for launches that are under way

    async def dialer(self, listening: Listening) -> Dialer | None:
        """A dialer through it; None where no Python is known, which a probe finds.

        Raises what `Relay.begin` does.
        """
        transport = self._transport
        async with self._lock:
            relay = self._usable()
            if relay is None:
                if transport.python is None:
                    return None
                try:
                    relay = self.relay = await Relay.begin(transport, *transport.python)
                except errors.RemoteError:
                    transport.python = None  # it may be gone, and others not
                    raise
            return RelayDialer(relay, listening, self._more)

    def _usable(self) -> Relay | None:
        if self.relay is not None and not self.relay.is_usable(self._transport.identity()):
            self.relay = None  # one that still runs ends with its last dialer
        return self.relay

    @contextlib.asynccontextmanager
    async def ahead(
        self, python: str, pythonhome: str | None
    ) -> AsyncIterator[Callable[[], object]]:
        """See `Transport.ahead`."""
        holding = asyncio.create_task(self._hold(python, pythonhome))
        self._holding.add(holding)  # it may outlive who was cancelled twice
        holding.add_done_callback(self._holding.discard)
        try:
            yield holding.cancel
        finally:
            holding.cancel()
            await asyncio.wait([holding])

    async def _hold(self, python: str, pythonhome: str | None) -> None:
        """Begin a relay where there is none, and keep it until cancelled."""
        try:
            async with self._lock:
                relay = self._usable()
                if relay is None:
                    relay = self.relay = await Relay.begin(
                        self._transport, python, pythonhome, waits_for_room=False
                    )
                holder = RelayDialer(relay, {})
        except (errors.SshpykError, OSError):
            return  # whoever wants a dialer tries again, and says what is wrong
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await holder.close()
