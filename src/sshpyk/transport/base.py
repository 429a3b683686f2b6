"""The seam between a link and the way to its host: what a `Transport` can do.

It is drawn by what a link needs, not by what ssh has: a connection to the host that can be made
again, programs that run there with pipes, and connections to where an agent listens. Whoever can
run a program can do the rest through it. A transport need only carry bytes while it lives, and end
when it does not: the streams of a link make up for what it loses.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import errors
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from .entrance import Entrance
    from .unanswered import Heard

#: Names one connection to a host: another connection has another identity.
Identity = Hashable

#: Where an agent listens: for each channel a socket's path, or a port of loopback.
Listening = Mapping[str, "str | int"]


@dataclass(frozen=True)
class Login:
    """What a person types to reach the host, the very node included.

    `command` opens a shell there, `connect` logs in for all kernels, `copy_key` spares later
    logins, and `ask` is `command` where ssh asks whether it may trust a new key.
    """

    command: str
    connect: str
    copy_key: str
    ask: str


class Program(ABC):
    """A program that runs on the host: its pipes, and how it ends."""

    stderr: bytes = b""  #: the end of what it has written there

    @abstractmethod
    async def read(self) -> bytes:
        """The next of its stdout; empty at the end."""

    async def pour(self, take: Callable[[bytes], object]) -> None:
        """Call `take` with each piece of its stdout as it comes, in place of `read`, to the end.

        What it wrote since the last `read` may be lost: begin before it writes more. Raises what
        `take` raises, which is not called again then.
        """
        while data := await self.read():
            take(data)

    @property
    def has_taken_all(self) -> bool:
        """Whether nothing of what was written waits; False where that is not known."""
        return False

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Give it `data` on stdin, as soon as that takes it."""

    def end_input(self) -> None:  # noqa: B027  # where `Transport.knows_way` is always False
        """Tell it that nothing more comes on stdin, once it has what was written."""

    @abstractmethod
    async def drain(self) -> None:
        """Wait until little of what was written waits. Raises OSError where it takes no more."""

    @abstractmethod
    async def wait(self) -> int:
        """Wait until it has ended; its exit status.

        Raises `HostError` where the way to it has ended instead: `ConnectionLost`; `NoRoom`, where
        the host runs no further program now and the caller may try again.
        """


class Dialer(ABC):
    """A way to where one agent listens, for as long as the connection to the host lives.

    `carriers` is how many connections of it carry a stream faster than one does. For ssh gives each
    channel a window of 2 MiB, so on a long link one brings 2 MiB a round trip.
    """

    @property
    def carriers(self) -> int:
        return 6

    @abstractmethod
    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Connect to `channel` of the agent; as `loop.create_connection` does.

        Raises OSError where nothing takes the connection.
        """

    async def dial_more(
        self, channel: str, protocol: Callable[[], asyncio.Protocol], number: int
    ) -> None:
        """The same for a stream that has `number` connections by now, one at least, and is to be
        carried faster."""
        await self.dial(channel, protocol)

    @abstractmethod
    async def close(self) -> None:
        """Take the way back; connections through it may end."""


class Transport(ABC):
    """One host, as this process reaches it, shared by all links to it.

    All methods belong to the I/O thread. `destination` is what it was made for, as a persistence
    file has it; `host` is what the user calls that.
    """

    #: Whether that names one container: where another one has the name, the first has ended.
    is_container = False

    #: Whether it hears by itself of the connection's end, so that nothing need be sent over it
    #: while nothing happens: there it would keep the machine from being taken for idle.
    keeps_watch = False

    #: When the place itself will end, in seconds since 1970, as was last heard; None: nobody knows.
    ends_at: float | None = None

    def __init__(self, destination: Destination | Entrance | Allocation | ServerAddress) -> None:
        self.destination = destination
        self.host = destination.host
        self.heard_at = float("-inf")  #: on the loop's clock: when any link heard of the host
        self.python: tuple[str, str | None] | None = None  # that ran a job last, its PYTHONHOME
        self.reads_bytecode: dict[str, bool] = {}  #: by the path of a Python: whether it reads ours
        #: Those who want to know what is said at a login: a level ("v", "vv", "vvv") and a log.
        self.login_logs: dict[Callable[..., None], str] = {}

    @property
    @abstractmethod
    def login(self) -> Login:
        """What a person types to reach this host."""

    # -- the connection --------------------------------------------------------------------------

    @abstractmethod
    def identity(self) -> Identity | None:
        """The connection that there is now, as far as is known without asking anybody."""

    @abstractmethod
    async def ensure(self, *, timeout: float) -> Identity:
        """Make sure of a connection within `timeout` seconds. Raises `HostError`, or
        `SettingsError`."""

    @abstractmethod
    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        """The attempt to get a connection again, another than the one known to be `dead`.

        All links share one attempt and the pause before it, so that the host sees one at a time
        however many kernels it has. Who waits for it must not cancel it. It raises `HostError`, or
        `SettingsError`.
        """

    @abstractmethod
    def hurry(self) -> None:
        """There is reason to try again at once: the clock jumped, or a person asks for it."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether the host says anything through the connection that there is."""

    @property
    @abstractmethod
    def next_try(self) -> float | None:
        """When the next attempt of `reconnect` begins, on the loop's clock; None where one is
        under way or none is planned."""

    # -- places that are lent for a time -----------------------------------------------------------

    #: Whether a kernel can start here only in what `allocate` gives.
    is_lent = False

    async def allocate(
        self, say: Callable[[str], None], *, patience: float, may_submit: bool
    ) -> Transport:
        """The very place where a kernel may start, asked for where it must be, and waited for, so
        many seconds; `say` is told why.

        Unless it `may_submit`, only one that is there, or was asked for already. Raises
        `HostError`, or `AllocationEnded`.
        """
        return self

    async def give_back(self) -> None:  # noqa: B027  # most places were not lent
        """Nothing can start here: end what was lent. A start that fails otherwise leaves it for
        the next."""

    async def look_at_end(self) -> float | None:
        """`ends_at` as it is now: it may have been moved. Raises `HostError`."""
        return self.ends_at

    # -- what it is used for ---------------------------------------------------------------------

    @abstractmethod
    def run(
        self, command: str, *, is_lasting: bool = False
    ) -> AbstractAsyncContextManager[Program]:
        """Run `command` by the host's shell; at the end of the context it is ended.

        `ensure` comes before. Where too many run, it waits for one to end, unless it `is_lasting`:
        others may wait for that one.
        """

    def judge(
        self, heard: Heard, kind: type[errors.SshpykError], fields: dict[str, str]
    ) -> tuple[type[errors.SshpykError], dict[str, str]]:
        """The error for what was `heard` in place of an answer: `kind` with its `fields`, unless
        the transport knows better."""
        return kind, fields

    async def doubt(self, error: errors.SshpykError) -> errors.SshpykError:
        """`error`, for which a job has not answered, or a better one that a closer look finds."""
        return error

    @abstractmethod
    async def dialer(self, listening: Listening) -> Dialer | None:
        """A way to where an agent listens; None where there is none, for the connection or the
        address is not such."""

    def ahead(
        self, python: str, pythonhome: str | None
    ) -> AbstractAsyncContextManager[Callable[[], object]]:
        """Begin what `dialer` will need, beside a launch by the host's `python`, where that is
        known by now; at the end of the context it ends, unless a dialer uses it.

        It raises nothing where that fails: `dialer` does. What the context gives is to be called
        where the launch finds no room, which may have been taken by this.
        """
        return contextlib.nullcontext(lambda: None)

    @property
    @abstractmethod
    def family(self) -> str:
        """How a new agent is reached: by its "unix" or "tcp" sockets, or by a "relay", for which it
        listens on unix sockets."""

    #: Whether that has worked lately, so that nobody need wait to see whether it does.
    knows_way = False

    @abstractmethod
    async def way(self) -> str:
        """The same in words, as far as is known without asking the host; empty if it is not.

        Raises `SettingsError`.
        """

    @abstractmethod
    def refused(self, family: str) -> str:
        """No agent was reached by `family`: what to try instead.

        Raises `HostError` where nothing is left to try.
        """

    @abstractmethod
    def reached(self, family: str) -> None:
        """An agent was reached that listens on `family`, to be remembered for the next, also by
        other processes."""

    @abstractmethod
    def unreached(self) -> None:
        """An agent is alive there for certain, and yet it was not reached by its dialer."""

    def forget_way(self) -> None:  # noqa: B027  # most have one only
        """A new agent was not reached in the way that had worked: find out anew."""

    @abstractmethod
    def node(self, name: str) -> Transport:
        """The very machine `name` behind this host, where its name stands for several."""
