"""The transport for machines without an ssh program: paramiko makes the one connection, which lives
in this process alone. Programs are its channels; agents are reached through the relay.

All that blocks is in threads of the connection's and of its programs', which end with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import paramiko
from paramiko.ssh_exception import ChannelException, SSHException

from .. import errors
from ..aio import within
from ..ssh.command import Destination
from ..ssh.hops import Hop, unhonoured, way
from ..ssh.login import WINDOW, Login, Prompts, close, error_for
from . import base
from .base import Dialer, Identity, Listening, Program, Transport
from .by_relay import ByRelay
from .process import KEPT_STDERR, READ_SIZE
from .reconnecting import Connected
from .registry import Registry
from .relay import SharedRelay
from .workers import Worker

#: Sessions at once, but for those that last: sshd allows ten (MaxSessions).
MOST_SESSIONS = 3

#: Seconds for the host to say anything, and to open a session.
ANSWER_WITHIN = 5.0
OPEN_WITHIN = 30.0

#: Bytes that a program has not taken yet, from which who writes should wait.
HIGH = 64 * 1024

#: Seconds that a connection stays which nobody uses.
IDLE = 60.0

_log = logging.getLogger("sshpyk")


class Connection:
    """A login that is there, by way of others; `users` are the programs on it."""

    def __init__(self, transports: list[paramiko.Transport], identity: int) -> None:
        self.identity = identity
        self.users: set[ChannelProgram] = set()
        self.idle: asyncio.TimerHandle | None = None  # when it ends without any
        self.transport = transports[-1]
        self._transports = transports
        self._closer = Worker("sshpyk-close")

    @property
    def is_alive(self) -> bool:
        """Whether it is, as far as is known."""
        return self.transport.is_active()

    def take_back(self, channel: paramiko.Channel) -> asyncio.Future[None]:
        """Close a channel."""
        return self._closer.call(channel.close)

    def close(self) -> asyncio.Future[None]:
        """End it, and all on it."""
        if self.idle is not None:
            self.idle.cancel()
        self._closer.end()
        ender = Worker("sshpyk-end")  # the other may be stuck in what this ends
        done = ender.call(close, self._transports)
        ender.end()
        return done


class Paramiko(ByRelay, Connected):
    """One destination, reached by paramiko."""

    all_of_it = 0.7

    destination: Destination

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self.connection: Connection | None = None
        self._count = 0  # of connections: each is another identity
        self._sessions = asyncio.Semaphore(MOST_SESSIONS)
        self._shared = SharedRelay(self)
        self._wrong: frozenset[int] = frozenset()  # passwords of the keyring, by their hashes
        self._said: list[str] = []

    @property
    def login(self) -> base.Login:
        connect = f"sshpyk connect {self.destination.for_connect()}"
        return base.Login(self.destination.for_people(), connect, copy_key="", ask=connect)

    # -- the connection --------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        connection = self.connection
        return connection.identity if connection is not None and connection.is_alive else None

    async def _connect(self, timeout: float) -> Identity:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        worker = Worker("sshpyk-login")
        attempt: Login | None = None
        try:
            hops = await worker.call(way, self.destination)
            self._say(hops)
            prompts = Prompts(wrong=self._wrong)
            attempt = Login(self.destination, hops, prompts, timeout=timeout)
            try:
                transports = await within(timeout, worker.call(attempt.run))
            except TimeoutError:
                details = f"no connection within {timeout:g} s"
                raise error_for(self.destination, errors.Unreachable, details) from None
            except errors.AuthenticationFailed:
                self._wrong |= prompts.given
                raise
        except BaseException:
            if attempt is not None:
                ender = Worker("sshpyk-end")
                ender.call(attempt.abort)
                ender.end()
            raise
        finally:
            worker.end()
        self._count += 1
        self.connection = Connection(transports, self._count)
        for log in list(self.login_logs):
            log("< paramiko logged in to %s", " and ".join(hop.name for hop in hops))
        return self._count

    def _say(self, hops: list[Hop]) -> None:
        """Name once what the configuration says and can't be honoured."""
        said = unhonoured(hops)
        if said != self._said:
            self._said = said
            text = "paramiko can't honour these options of your ssh configuration for %s: %s"
            _log.warning(text, self.host, "; ".join(said))

    def _used(self) -> None:
        if self.connection is not None:
            self._keep(self.connection)

    def _keep(self, connection: Connection) -> None:
        """Let it be until nobody has used it for a while."""

        def look() -> None:
            if not connection.users:
                self._end(connection)

        if connection.idle is not None:
            connection.idle.cancel()
        connection.idle = asyncio.get_running_loop().call_later(IDLE, look)

    def _end(self, connection: Connection) -> asyncio.Future[None]:
        if self.connection is connection:
            self.connection = None
        return connection.close()

    async def close(self) -> None:
        """End the connection, if there is one."""
        if self.connection is not None:
            await self._end(self.connection)

    async def _answers(self) -> bool:
        try:
            async with self.run("exit 0", is_lasting=True) as program:
                await within(ANSWER_WITHIN, program.wait())
        except errors.NoRoom:
            return True
        except (errors.HostError, TimeoutError):
            return False
        return True

    # -- programs --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        async with contextlib.nullcontext() if is_lasting else self._sessions:
            connection = self.connection
            if connection is None or not connection.is_alive:
                raise errors.ConnectionLost(host=self.host, details="")
            program = ChannelProgram(self.host, connection, command)
            connection.users.add(program)
            try:
                yield program
            finally:
                await program.close()
                connection.users.discard(program)
                self._keep(connection)

    # -- agents ----------------------------------------------------------------------------------

    async def dialer(self, listening: Listening) -> Dialer | None:
        try:
            return await self._shared.dialer(listening)
        except errors.NoRoom as error:
            raise self._no_way(error.details) from None

    def ahead(
        self, python: str, pythonhome: str | None
    ) -> contextlib.AbstractAsyncContextManager[Callable[[], object]]:
        return self._shared.ahead(python, pythonhome)

    async def way(self) -> str:
        return "paramiko, one channel of it for all kernels"

    def _no_way(self, details: str) -> errors.NoForwarding:
        return errors.NoForwarding(host=self.host, command=self.login.command, details=details)

    def node(self, name: str) -> Transport:
        return transport(replace(self.destination, node=name))


class ChannelProgram(Program):
    """A program in a channel of its own, which is being opened at first."""

    def __init__(self, host: str, connection: Connection, command: str) -> None:
        self._host = host
        self._connection = connection
        self._channel: paramiko.Channel
        self._writer, self._reader, self._listener = (
            Worker(f"sshpyk-{what}") for what in ("write", "read", "stderr")
        )
        self._waiting = 0  # bytes that were written and not taken
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._trouble: BaseException | None = None
        self._reading: asyncio.Future[bytes] | None = None
        self._opening = self._writer.call(self._open, command)
        self._errors = asyncio.create_task(self._read_errors())

    def _open(self, command: str) -> None:
        """In the writer's thread, as all that blocks is in one."""
        self._channel = self._connection.transport.open_session(
            window_size=WINDOW, timeout=OPEN_WITHIN
        )
        self._channel.exec_command(command)

    async def read(self) -> bytes:
        try:
            await asyncio.shield(self._opening)
            if self._reading is None:
                self._reading = self._reader.call(self._channel.recv, READ_SIZE)
            # A caller that gives up leaves it to the next.
            data = await asyncio.shield(self._reading)
            self._reading = None
        except (SSHException, OSError, EOFError):
            return b""  # `wait` says why
        return data

    def write(self, data: bytes) -> None:
        self._waiting += len(data)
        if self._waiting > HIGH:
            self._has_room.clear()
        self._writer.call(self._send, data).add_done_callback(
            lambda done: self._taken(len(data), done)
        )

    def _send(self, data: bytes) -> None:
        if not hasattr(self, "_channel"):
            raise BrokenPipeError("no session")
        self._channel.sendall(data)

    def _taken(self, size: int, done: asyncio.Future[None]) -> None:
        self._waiting -= size
        error = BrokenPipeError("the session has ended") if done.cancelled() else done.exception()
        self._trouble = self._trouble or error
        if self._waiting <= HIGH or self._trouble is not None:
            self._has_room.set()

    async def drain(self) -> None:
        await self._has_room.wait()
        if self._trouble is not None:
            raise BrokenPipeError(str(self._trouble))

    async def _read_errors(self) -> None:
        with contextlib.suppress(SSHException, OSError, EOFError):
            await asyncio.shield(self._opening)
            while data := await self._listener.call(self._channel.recv_stderr, READ_SIZE):
                self.stderr = (self.stderr + data)[-KEPT_STDERR:]

    async def wait(self) -> int:
        try:
            await asyncio.shield(self._opening)
        except ChannelException as error:
            raise errors.NoRoom(host=self._host, details=str(error)) from None
        except (SSHException, OSError, EOFError) as error:
            raise errors.ConnectionLost(host=self._host, details=str(error)) from None
        # In the listener's thread, for a read may be under way: that ends first where all ends.
        await asyncio.wait([self._errors])
        status = await self._listener.call(self._channel.recv_exit_status)
        if status == -1:
            if not self._connection.is_alive:
                raise errors.ConnectionLost(host=self._host, details="")
            return 255  # as ssh says where a signal ended it
        return status

    async def close(self) -> None:
        """End it, if it still runs: with its channel, its threads end."""
        self._errors.cancel()
        for worker in (self._writer, self._reader, self._listener):
            worker.end()
        self._opening.add_done_callback(self._take_back)

    def _take_back(self, _: asyncio.Future[None]) -> None:
        if hasattr(self, "_channel"):
            self._connection.take_back(self._channel)


_transports: Registry[Destination, Paramiko] = Registry(Paramiko)
forget_all = _transports.forget_all


def transport(destination: Destination) -> Paramiko:
    """The process's one transport for a destination; call it on the I/O thread."""
    return _transports.get(destination)
