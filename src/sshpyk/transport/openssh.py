"""The OpenSSH transport: one master a host, sessions to run programs, forwards to reach agents."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from weakref import WeakValueDictionary

from .. import errors
from ..aio import within
from ..ssh import complaints
from ..ssh.command import Destination, end
from ..ssh.master import Master
from ..wire.liveness import Backoff, Patience
from .base import Dialer, Identity, Listening, Login, Program, Transport
from .forwards import Forwards, sweep

#: Sessions at once on one master, of this process. sshd allows ten (MaxSessions), and other
#: processes have theirs.
MOST_SESSIONS = 3

#: Seconds for the host to say anything through a master that is there.
ANSWER_WITHIN = 5.0

#: The share of its time from which an attempt counts as one that ran out of it: ssh itself gives up
#: a second earlier (`Master`).
ALL_OF_IT = 0.7

#: Seconds until the next login by ourselves where only a person can log in: hosts count failures,
#: and lock accounts and addresses for them. A master that somebody has made is seen at once.
PERSON = 300.0

#: Seconds between looks for a master that somebody else has made.
LOOK = 0.5

#: Bytes of a program's stderr that are kept for an error message.
KEPT_STDERR = 64 * 1024

#: Hosts that are remembered while no link uses them: that they forward no unix sockets, how long
#: their login takes, what their Pythons read.
MOST_REMEMBERED = 32


class OpenSSH(Transport):
    """One destination of ssh."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self.master = Master(destination, self.login_logs)
        self._sessions = asyncio.Semaphore(MOST_SESSIONS)
        self._family = "unix"  # "tcp" once the server has refused to forward unix sockets
        self._attempt: asyncio.Task[Identity] | None = None
        self._question: asyncio.Task[bool] | None = None
        self._not_before = 0.0  # when the next attempt may begin, on the loop's clock
        self._backoff = Backoff()
        self._patience = Patience()
        self._hurry = asyncio.Event()
        self._sweep: asyncio.Task[None] | None = None

    @property
    def login(self) -> Login:
        to = self.destination
        return Login(
            command=to.for_people(),
            connect=f"sshpyk connect {to.for_connect()}",
            copy_key=f"ssh-copy-id {to.for_people(program=None)}",
            ask=to.for_people("-o", "StrictHostKeyChecking=ask"),
        )

    def identity(self) -> Identity | None:
        return self.master.identity()

    async def ensure(self, *, timeout: float) -> Identity:
        try:
            return await self.master.ensure(timeout=timeout)
        except errors.NeedsPerson:
            self._not_before = asyncio.get_running_loop().time() + PERSON
            raise

    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._reconnect(dead))
            self._attempt.add_done_callback(_take_exception)
        return self._attempt

    async def _reconnect(self, dead: Identity | None) -> Identity:
        loop = asyncio.get_running_loop()
        while loop.time() < self._not_before and not self._hurry.is_set():
            found = self.identity()
            if found is not None and found != dead:
                return found
            left = min(LOOK, self._not_before - loop.time())
            with contextlib.suppress(TimeoutError):
                await within(left, self._hurry.wait())
        self._hurry.clear()
        begun = loop.time()
        timeout = self._patience.next(self.master.connect_time)
        try:
            found = await self.master.ensure(dead=dead, timeout=timeout)
        except errors.NeedsPerson:
            self._not_before = loop.time() + PERSON
            raise
        except Exception:
            # From its beginning: after one that took long, the next comes at once.
            self._not_before = begun + self._backoff.pause()
            if loop.time() - begun > ALL_OF_IT * timeout:
                self._patience.ran_out()
            raise
        self._backoff.reset()
        self._patience.reset()
        return found

    @property
    def next_try(self) -> float | None:
        now = asyncio.get_running_loop().time()
        waits = self._attempt is not None and now < self._not_before
        return self._not_before if waits else None

    def hurry(self) -> None:
        self._hurry.set()

    async def answers(self) -> bool:
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self.master.answers(timeout=ANSWER_WITHIN))
        return await asyncio.shield(self._question)

    # -- programs --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def run(self, command: str) -> AsyncIterator[Program]:
        async with self._sessions:
            program = await SessionProgram.begin(self, command)
            try:
                yield program
            finally:
                await program.close()

    # -- agents ----------------------------------------------------------------------------------

    async def dialer(self, listening: Listening) -> Dialer | None:
        if self._sweep is None or self._sweep.done():
            self._sweep = asyncio.create_task(sweep())
        forwards = Forwards(self.master)
        try:
            return forwards if await forwards.make(listening) else None
        except BaseException:
            await forwards.close()
            raise

    @property
    def family(self) -> str:
        return self._family

    def refused(self, family: str) -> str:
        if family == "unix":
            # The server forwards no unix sockets (AllowStreamLocalForwarding no, or no OpenSSH);
            # loopback TCP does as well, with the token at the door.
            return "tcp"
        self._family = "unix"
        if self.identity() is None:
            raise errors.ConnectionLost(host=self.host, details="")
        raise errors.NoForwarding(host=self.host, command=self.login.command)

    def reached(self, family: str) -> None:
        self._family = family

    def node(self, name: str) -> OpenSSH:
        return transport(replace(self.destination, node=name))


class SessionProgram(Program):
    """A program in a session of the master."""

    def __init__(self, transport: OpenSSH, process: asyncio.subprocess.Process) -> None:
        self._transport = transport
        self._process = process
        self._has_answered = False
        self._errors = asyncio.create_task(self._read_errors())

    @classmethod
    async def begin(cls, transport: OpenSSH, command: str) -> SessionProgram:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *transport.master.session_argv(command),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
        return cls(transport, process)

    async def read(self) -> bytes:
        assert self._process.stdout is not None
        data = await self._process.stdout.read(65536)
        self._has_answered = self._has_answered or bool(data)
        return data

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self.stderr = (self.stderr + data)[-KEPT_STDERR:]

    async def wait(self) -> int:
        status = await self._process.wait()
        await self._errors
        if status == 255:
            self._raise_of_ssh(self.stderr.decode("utf-8", "replace"))
        return status

    def _raise_of_ssh(self, stderr: str) -> None:
        """Raise what became of the session, unless 255 is the program's own status."""
        host = self._transport.host
        if not self._has_answered and complaints.is_session_refused(stderr):
            raise errors.NoRoom(host=host, details=stderr)
        if self._transport.identity() is None:
            raise errors.ConnectionLost(host=host, details=stderr)
        error = complaints.host_error(self._transport.destination, stderr)
        if type(error) is not errors.HostError:
            raise error

    async def close(self) -> None:
        """End it, if it still runs."""
        await end(self._process)
        self._errors.cancel()
        await asyncio.wait([self._errors])
        if self._process.stdin is not None:
            self._process.stdin.close()


def _take_exception(task: asyncio.Task[Identity]) -> None:
    """Those who waited have what it raised; it may be that nobody does any more."""
    if not task.cancelled():
        task.exception()


#: One for a destination, as long as anybody uses it; and those that were used last.
_transports: WeakValueDictionary[Destination, OpenSSH] = WeakValueDictionary()
_remembered: OrderedDict[Destination, OpenSSH] = OrderedDict()


def forget_all() -> None:
    """Begin as a new process would."""
    _transports.clear()
    _remembered.clear()


# A forked child has an I/O thread of its own, and so needs transports of its own.
os.register_at_fork(after_in_child=forget_all)


def transport(destination: Destination) -> OpenSSH:
    """The process's one transport for a destination; call it on the I/O thread."""
    found = _transports.get(destination)
    if found is None:
        found = _transports[destination] = OpenSSH(destination)
    _remembered[destination] = found
    _remembered.move_to_end(destination)
    while len(_remembered) > MOST_REMEMBERED:
        _remembered.popitem(last=False)
    return found
