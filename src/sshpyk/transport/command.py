"""The transport without ssh: a command enters the place, and programs run there by it with pipes.

It is run on this machine, or on a host that another transport reaches. Agents are reached through a
relay, one program for all kernels of the place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from .. import errors
from ..aio import within
from ..ssh.command import Destination
from . import openssh, refusals
from .base import Dialer, Identity, Listening, Login, Program, Transport
from .by_relay import ByRelay
from .entrance import Entrance, shell_words
from .jobs import quote
from .process import Process
from .reconnecting import Reconnecting
from .registry import Registry
from .relay import SharedRelay
from .unanswered import Heard, explain

#: Programs at once, but for those that last: each is a process here, and some on its way.
MOST_PROGRAMS = 8

#: Seconds for the place to say anything.
ANSWER_WITHIN = 10.0

#: Seconds that a program has to end by itself when its input does.
GRACE = 1.0

#: What runs in the place to see whether it can be entered, and what that says.
HELLO = "SSHPYK2-HERE"


class Command(ByRelay, Reconnecting):
    """A place that is entered by a command; `outer` reaches the host where that is run."""

    def __init__(self, entrance: Entrance) -> None:
        super().__init__(entrance)
        self.entrance = entrance
        self.is_container = entrance.is_container
        self.outer = transport(entrance.outer) if entrance.outer is not None else None
        if self.outer is not None:
            self.login_logs = self.outer.login_logs
        self._programs = asyncio.Semaphore(MOST_PROGRAMS)
        self._shared = SharedRelay(self)
        self._entries = 0  # counts connections: each is another identity

    @property
    def login(self) -> Login:
        command = self.entrance.for_people()
        connect = f"sshpyk doctor {self.entrance.for_connect()}"
        return Login(command, connect, copy_key="", ask=command)

    # -- the connection --------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        """There is no connection but the relay's pipe: while that holds, or before there is one."""
        is_broken = self._shared.relay is not None and self._shared.relay.is_over
        outer = None if self.outer is None else self.outer.identity()
        if is_broken or not self._entries or (self.outer is not None and outer is None):
            return None
        return outer, self._entries

    async def ensure(self, *, timeout: float) -> Identity:
        # Nothing is run to try it: the job that comes next says what there is to say.
        if self.outer is not None:
            await self.outer.ensure(timeout=timeout)
        found = self.identity()
        return self._entered() if found is None else found

    def _entered(self) -> Identity:
        self._entries += 1
        self._shared.relay = None  # one that still runs ends with its last dialer
        found = self.identity()
        if found is None:
            raise errors.ConnectionLost(host=self.host, details="")
        return found

    async def _prepare(self, dead: Identity | None) -> Identity | None:
        await self._reconnect_outer(dead)
        found = self.identity()
        return found if found != dead else None

    async def _connect_anew(self, dead: Identity | None, timeout: float) -> Identity:
        await self.enter(timeout=timeout)
        return self._entered()

    async def _reconnect_outer(self, dead: Identity | None) -> None:
        """Have a connection to the host on which the command is run."""
        if self.outer is None:
            return
        dead_outer: Identity | None = None
        if dead is not None and dead == self.identity() and not await self.outer.answers():
            dead_outer = self.outer.identity()
        await asyncio.shield(self.outer.reconnect(dead_outer))

    @property
    def next_try(self) -> float | None:
        own = super().next_try
        return self.outer.next_try if own is None and self.outer is not None else own

    def hurry(self) -> None:
        super().hurry()
        if self.outer is not None:
            self.outer.hurry()

    async def _answers(self) -> bool:
        try:
            await self.enter(timeout=ANSWER_WITHIN)
        except (errors.SshpykError, OSError):
            return False
        return True

    async def enter(self, *, timeout: float) -> str:
        """Run a word's worth of a program in the place, within `timeout` seconds; what came before
        it, such as a banner. Raises `SshpykError`."""
        said = bytearray()
        try:
            # As one that lasts: a job that waits for it may have one of the places.
            async with self.run(f"echo {HELLO}", is_lasting=True) as program:
                try:
                    await within(timeout, _read_hello(program, said))
                    before, hello, _ = said.partition(HELLO.encode())
                    if hello:
                        return before.decode("utf-8", "replace").strip()
                    status = await program.wait()
                except TimeoutError:
                    status = None
                heard = Heard(status, _text(said), _text(program.stderr), "sh")
        except OSError as error:
            heard = Heard(None, "", str(error), "sh")
        kind, fields = self.judge(heard, *explain(heard))
        if heard.status is None and kind is errors.StrangeAnswer:
            kind = errors.Unreachable
        details = f"{heard.stdout}\n{heard.stderr}".strip()[-2000:]
        command = self.login.command
        raise kind(host=self.host, python="sh", command=command, details=details, **fields)

    # -- programs --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        script = refusals.GUARD + command
        if self.outer is not None:
            async with self.outer.run(self._line(script), is_lasting=is_lasting) as program:
                yield program
            return
        async with contextlib.nullcontext() if is_lasting else self._programs:
            try:
                process = await EnteredProgram.start(self.entrance.argv(script))
            except OSError as error:
                raise errors.NoSuchCommand(
                    program=self.entrance.program, host=self.host, details=error.strerror or ""
                ) from None
            own = EnteredProgram(process)
            try:
                yield own
            finally:
                await own.close()

    def _line(self, script: str) -> str:
        """The line for the outer host's shell."""
        return " ".join(map(quote, [*self.entrance.words, *shell_words(script)]))

    def judge(
        self, heard: Heard, kind: type[errors.SshpykError], fields: dict[str, str]
    ) -> tuple[type[errors.SshpykError], dict[str, str]]:
        return refusals.explain(self.entrance, heard, kind, fields)

    async def doubt(self, error: errors.SshpykError) -> errors.SshpykError:
        if isinstance(error, (errors.EndedAtOnce, errors.StrangeAnswer)):
            # A terminal may take what we send for keys that end a program. Nothing is sent here.
            try:
                await self.enter(timeout=ANSWER_WITHIN)
            except errors.ThroughTerminal as found:
                return found
            except errors.SshpykError:
                pass
        return error

    # -- agents ----------------------------------------------------------------------------------

    async def dialer(self, listening: Listening) -> Dialer | None:
        if self.python is not None and self.identity() is None:
            self._entered()
        return await self._shared.dialer(listening)

    def ahead(
        self, python: str, pythonhome: str | None
    ) -> contextlib.AbstractAsyncContextManager[Callable[[], object]]:
        return self._shared.ahead(python, pythonhome)

    async def way(self) -> str:
        return f"{self.entrance.program}, which runs one program of ours for all kernels"

    def node(self, name: str) -> Transport:
        outer = self.entrance.outer
        if outer is None:
            raise errors.OtherPlace(host=self.host, node=name, command=self.login.command)
        return transport(replace(self.entrance, outer=replace(outer, node=name)))


class EnteredProgram(Process):
    """A program in a place that is entered from this machine."""

    async def close(self) -> None:
        """End it, if it still runs. It may be the program itself that is our child, as with
        nsenter, and have something to remove: the end of its input is the sign to do that."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await within(GRACE, self._process.wait())
        finally:
            await super().close()
            # What was not read of it leaves a pipe open.
            self._process._transport.close()  # type: ignore[attr-defined]  # nothing public has it


async def _read_hello(program: Program, said: bytearray) -> None:
    """Add to `said` what the program says, up to the hello or the end."""
    while HELLO.encode() not in said and (data := await program.read()):
        said += data


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")


_transports: Registry[Entrance, Command] = Registry(Command)


def transport(destination: Entrance | Destination) -> Transport:
    """The process's one transport for a destination; call it on the I/O thread."""
    if isinstance(destination, Destination):
        if destination.is_by_paramiko:
            from . import paramiko_client  # which takes long to import, and is seldom needed

            return paramiko_client.transport(destination)
        return openssh.transport(destination)
    return _transports.get(destination)
