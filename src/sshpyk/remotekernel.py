"""What provisioner, commands and browser see of a kernel on another machine: a `RemoteKernel`.

A link with an agent is one. Whatever else can run a kernel somewhere is another, and those above
need not know which.
"""

from __future__ import annotations

import enum
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import errors

if TYPE_CHECKING:
    from .link.address import KernelAddress
    from .server.address import ServerKernelAddress
    from .wire.requests import Exit, KernelFacts, KernelRequest, LaunchRequest, MemoryShort


class State(enum.Enum):
    """What a kernel is to us. Unknown is neither dead nor alive: see AWAY."""

    NEW = "new"
    STARTING = "starting"  # or attaching; `Status.stage` says how far it is
    CONNECTED = "connected"
    AWAY = "away"  # out of reach: it goes on, as far as anybody knows
    EXITED = "exited"  # for certain
    CLOSED = "closed"  # we have ended it, or left it


class Stage(enum.Enum):
    """What a start is at; the name is for programs, the value for people."""

    LOGIN = "logging in"
    PERSON = "waiting for you to log in"
    LAUNCH = "starting the kernel there"
    SERVER = "waiting for its server to start"
    AGENT = "connecting to its agent there"
    SOCKETS = "waiting for the kernel to open its sockets"
    RESTART = "starting the kernel again"
    ALLOCATION = "finding its allocation"
    QUEUED = "queued"


@dataclass(frozen=True)
class OpenPort:
    """A local port that leads to one of the host: `target` there is a port or the path of a unix
    socket, `local` here likewise. `url` is what the kernel has printed, as it is to be opened here;
    `trouble` why the last connection found nothing there."""

    target: str
    local: int | str
    url: str = ""
    trouble: errors.SshpykError | None = None

    def to_json(self) -> dict[str, Any]:
        """For other programs."""
        trouble = None if self.trouble is None else self.trouble.to_json()
        return {"target": self.target, "local": self.local, "url": self.url, "trouble": trouble}


@dataclass(frozen=True)
class Status:
    """How a kernel is, at one moment. Times are in seconds since 1970, None where unknown."""

    host: str
    state: State = State.NEW
    since: float = 0.0  # when `state` began
    stage: Stage | None = None  # of a start, or of a restart
    progress: str = ""  # what the other side says of that stage
    ending: str = ""  # "in 5 min", where the place itself ends soon, and the kernel with it
    ends_at: float | None = None  # when that is, as was last heard
    trouble: errors.SshpykError | None = None  # why it is not connected, as far as known
    next_try: float | None = None  # when the host is tried again
    exited: Exit | None = None
    busy: bool | None = None
    busy_since: float | None = None
    memory_short: MemoryShort | None = None  # where what it may use is almost full
    ports: tuple[OpenPort, ...] = ()  # that lead to those of the host
    gap: tuple[float, float] | None = None  # when a server may have dropped output, the last time

    @property
    def stage_text(self) -> str | None:
        """What a start is at, for people."""
        if self.stage is None:
            return None
        return f"{self.stage.value}: {self.progress}" if self.progress else self.stage.value

    def to_json(self) -> dict[str, Any]:
        """The status for other programs: enums by their name in lower case, `trouble` and `exited`
        as objects with a code and sentences."""
        return {
            "host": self.host,
            "state": self.state.value,
            "since": self.since,
            "stage": None if self.stage is None else self.stage.name.lower(),
            "stage_text": self.stage_text,
            "ends_at": self.ends_at,
            "ending": self.ending or None,
            "trouble": None if self.trouble is None else self.trouble.to_json(),
            "needs_person": isinstance(self.trouble, errors.NeedsPerson),
            "next_try": self.next_try,
            "exited": None if self.exited is None else dict(self.exited),
            "exited_text": None if self.exited is None else errors.describe_exit(self.exited),
            "busy": self.busy,
            "busy_since": self.busy_since,
            "memory_short": None if self.memory_short is None else dict(self.memory_short),
            "ports": [port.to_json() for port in self.ports],
            "gap": None if self.gap is None else list(self.gap),
        }


Callback = Callable[[Status], None]


class RemoteKernel(ABC):
    """A kernel somewhere. All methods belong to the I/O thread; any thread may read attributes."""

    def __init__(self, host: str) -> None:
        self.status = Status(host=host, since=time.time())
        self.facts: KernelFacts | None = None  # once it was started or attached to
        self.is_gone = False  # whether nothing is left there in which it could start again
        self.person_timeout = 0.0  # seconds that a start waits for a person to log in
        self.ends_with_us = True  # what the end of this process means for the kernel
        self.found_keys: Mapping[str, str] | None = None  # of a kernel that has its own
        self.resigns = False  # whether clients have others even so, and it signs for both sides
        self.was_there = False  # whether it ran before we came to it
        self._callbacks: list[Callback] = []

    @property
    @abstractmethod
    def address(self) -> KernelAddress | ServerKernelAddress:
        """What another process needs to attach to it."""

    @property
    def exited(self) -> Exit | None:
        """None while the kernel runs or is out of sight, else how it ended."""
        return self.status.exited

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have `callback` called on the I/O thread with each new status; what ends that."""
        self._callbacks.append(callback)

        def end() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return end

    def _update(self, **changes: Any) -> None:
        """The status has changed so: tell those who have subscribed."""
        before = self.status
        if changes.get("state", before.state) is not before.state:
            changes.setdefault("since", time.time())
        status = replace(before, **changes)
        if status == before:
            return
        self.status = status
        for callback in list(self._callbacks):
            callback(status)

    @abstractmethod
    async def start(
        self, request: LaunchRequest, sockets: Mapping[str, socket.socket], *, timeout: float
    ) -> None:
        """Start the kernel, and wait until its sockets are there.

        Where the request names a session whose kernel is there, attach to that; `found_keys` then
        has its keys. `sockets`, bound, one a channel, are served from now on. `timeout` is in
        seconds; a stage that takes its own time, such as a queue, does not count. Raises one of
        `errors`; whatever was begun on either side is taken back then, and when the caller is
        cancelled.
        """

    @abstractmethod
    async def attach(self, sockets: Mapping[str, socket.socket], *, timeout: float) -> None:
        """Attach to the kernel, which runs already; the rest as for `start`.

        Raises `KernelGone` where it does not run any more.
        """

    @abstractmethod
    async def restart(
        self,
        kernel: KernelRequest | None,
        sockets: Mapping[str, socket.socket],
        *,
        timeout: float,
    ) -> None:
        """Start the kernel again, in place; `kernel` says how, None as before."""

    @abstractmethod
    async def signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group. Never waits for the network: where it is
        away, once it is back."""

    @abstractmethod
    async def hold(self, held: bool) -> None:
        """Keep what clients send to the kernel's control channel from it, or let it go on."""

    @abstractmethod
    def retry(self) -> None:
        """A person wants it now: try at once to reach it, where the next attempt is far."""

    @abstractmethod
    async def leave(self) -> None:
        """End our side; the kernel goes on."""

    @abstractmethod
    async def end(self) -> None:
        """End the kernel and our side. Out of reach, the wish stays for as long as this process
        does; after that the lease ends the kernel."""

    @abstractmethod
    async def exit_seen(self) -> None:
        """Wait until the kernel has exited, or we have closed."""

    @abstractmethod
    async def watch_activity(self) -> None:
        """Have `status.busy` kept from now on."""

    def watch_memory(self) -> None:  # noqa: B027  # where nobody can tell, nothing is told
        """Have `status.memory_short` kept from now on."""

    async def measure(self) -> dict[str, float]:
        """What the connection is like now, as far as can be known: "round_trip" in seconds, and
        "waiting", the bytes of output that are there and not here. May take as long as an outage.
        """
        return {}

    @abstractmethod
    def seeing(self, seeing: bool, *, resumed: bool = False) -> None:
        """Whether anybody sees what our clients get; output that nobody sees is kept on the host,
        where it can be. `resumed`: the same does who did before, and has got all of it."""

    @abstractmethod
    def seen(self, message: str) -> None:
        """Output up to the message with this id is saved where it is seen."""

    @abstractmethod
    async def resolve(self, path: str) -> str | None:
        """The absolute path there of what the kernel would call `path`; None where there is no
        such file, or nobody can tell now."""

    @abstractmethod
    def has_client(self, channel: str) -> bool:
        """Whether a Jupyter client is connected to this channel."""
