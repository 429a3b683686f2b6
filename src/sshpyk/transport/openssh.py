"""The OpenSSH transport: one master a host, sessions to run programs, forwards to reach agents."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from .. import errors
from ..aio import within
from ..ssh import complaints
from ..ssh.command import Destination
from ..ssh.master import Master
from . import recall
from .base import Dialer, Identity, Listening, Login, Program
from .forwards import Forwards, sweep
from .process import Process
from .reconnecting import Reconnecting
from .registry import Registry
from .relay import MORE, SharedRelay

#: Sessions at once on one master, of this process. sshd allows ten (MaxSessions), and other
#: processes have theirs.
MOST_SESSIONS = 3

#: Seconds for the host to say anything through a master that is there.
ANSWER_WITHIN = 5.0

#: Seconds between looks for a master that somebody else has made.
LOOK = 0.5


class OpenSSH(Reconnecting):
    """One destination of ssh."""

    all_of_it = 0.7  # ssh itself gives up a second earlier (`Master`)

    destination: Destination

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self.master = Master(destination, self.login_logs)
        self._sessions = asyncio.Semaphore(MOST_SESSIONS)
        self._family = "unix"  # "tcp" once unix sockets were refused, "relay" once both were
        self._believed_until = float("-inf")  # of time.monotonic()
        self._remembered = ""  # what other processes know by us
        self._has_forwarded = False
        self._is_guess = False  # whether forwards were not refused, but led to nobody
        self._shared = SharedRelay(self, more=MORE)
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
            self._wait_for_person()
            raise

    async def _pause(self, dead: Identity | None) -> Identity | None:
        loop = asyncio.get_running_loop()
        while loop.time() < self._not_before and not self._hurry.is_set():
            found = self.identity()
            if found is not None and found != dead:
                return found
            left = min(LOOK, self._not_before - loop.time())
            with contextlib.suppress(TimeoutError):
                await within(left, self._hurry.wait())
        return None

    async def _connect_anew(self, dead: Identity | None, timeout: float) -> Identity:
        return await self.master.ensure(dead=dead, timeout=timeout)

    def _took(self) -> float:
        return self.master.connect_time

    async def _answers(self) -> bool:
        return await self.master.answers(timeout=ANSWER_WITHIN)

    # -- programs --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        async with contextlib.nullcontext() if is_lasting else self._sessions:
            program = await SessionProgram.begin(self, command)
            try:
                yield program
            finally:
                await program.close()

    # -- agents ----------------------------------------------------------------------------------

    async def dialer(self, listening: Listening) -> Dialer | None:
        if self.family == "relay":
            return await self._relay_dialer(listening)
        if self._sweep is None or self._sweep.done():
            self._sweep = asyncio.create_task(sweep())
        forwards = Forwards(self.master)
        try:
            return forwards if await forwards.make(listening) else None
        except BaseException:
            await forwards.close()
            raise

    def ahead(
        self, python: str, pythonhome: str | None
    ) -> contextlib.AbstractAsyncContextManager[Callable[[], object]]:
        if self.family == "relay":
            return self._shared.ahead(python, pythonhome)
        return super().ahead(python, pythonhome)

    async def _relay_dialer(self, listening: Listening) -> Dialer | None:
        try:
            return await self._shared.dialer(listening)
        except errors.NoRoom as error:
            raise self._no_forwarding(error.details) from None

    @property
    def family(self) -> str:
        if time.monotonic() >= self._believed_until:
            # A host may have changed its mind: after a day, a start begins with forwards.
            found, left = recall.recall(self.master.name)
            self._remembered = found if left > 0 else ""
            self._believe(*((found, left) if left > 0 else ("unix", recall.BELIEVED)))
        return self._family

    def _believe(self, family: str, seconds: float = recall.BELIEVED) -> None:
        self._family = family
        self._believed_until = time.monotonic() + seconds

    @property
    def knows_way(self) -> bool:  # type: ignore[override]  # it changes
        # A relay takes a session of its own, of which there may be one only.
        return self.family != "relay" and (self._has_forwarded or bool(self._remembered))

    def forget_way(self) -> None:
        self._has_forwarded = False
        self._remembered = ""
        recall.forget(self.master.name)

    async def way(self) -> str:
        await self.master.prepare()
        found, _ = recall.recall(self.master.name)
        return recall.WORDS.get(found, "")

    def refused(self, family: str) -> str:
        if self.identity() is None:
            raise errors.ConnectionLost(host=self.host, details="")
        if family == "relay":
            raise self._no_forwarding("")
        if family == "tcp":
            self._has_forwarded = self._is_guess = False
            self._believe("relay")
        elif self._family != "relay":  # another link may have found out meanwhile
            # The server forwards no unix sockets (AllowStreamLocalForwarding no, or no OpenSSH);
            # loopback TCP does as well, with the token at the door.
            return "tcp"
        return "relay"

    def _no_forwarding(self, details: str) -> errors.NoForwarding:
        """The error; whoever comes next finds out anew."""
        self._family = "unix"
        self.forget_way()
        return errors.NoForwarding(host=self.host, command=self.login.command, details=details)

    def reached(self, family: str) -> None:
        if self._family != "relay":
            self._family = family
            self._has_forwarded = True
        elif self._is_guess:
            return  # an agent that was stopped for a while is nothing that others should know
        self.found(self._family)

    def found(self, family: str) -> None:
        """Agents are reached by `family`: to be remembered, if it is news."""
        if family != self._remembered:
            self._believe(family)
            self._remembered = family
            recall.remember(self.master.name, family)

    def unreached(self) -> None:
        # Where forwards have worked, they are not what is wrong.
        if not self._has_forwarded and self._family != "relay":
            self._believe("relay")
            self._is_guess = True

    def node(self, name: str) -> OpenSSH:
        return transport(replace(self.destination, node=name))


class SessionProgram(Process):
    """A program in a session of the master."""

    def __init__(self, transport: OpenSSH, process: asyncio.subprocess.Process) -> None:
        super().__init__(process)
        self._transport = transport

    @classmethod
    async def begin(cls, transport: OpenSSH, command: str) -> SessionProgram:
        """Start it."""
        return cls(transport, await cls.start(transport.master.session_argv(command)))

    async def wait(self) -> int:
        status = await super().wait()
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


_transports: Registry[Destination, OpenSSH] = Registry(OpenSSH)
forget_all = _transports.forget_all


def transport(destination: Destination) -> OpenSSH:
    """The process's one transport for a destination; call it on the I/O thread."""
    return _transports.get(destination)
