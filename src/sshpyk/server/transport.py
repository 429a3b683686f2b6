"""A Jupyter Server as a transport: programs run there by a helper kernel, which ends after its last
use, and agents are reached through a relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from .. import errors
from ..aio import within
from ..link.thread import io_thread
from ..transport.base import Dialer, Identity, Listening, Login, Program, Transport
from ..transport.by_relay import ByRelay
from ..transport.reconnecting import Connected
from ..transport.registry import Registry
from ..transport.relay import SharedRelay
from . import trouble
from .address import ServerAddress
from .helper import Helper, HelperProgram, choose_python
from .rest import Server, twice

#: Programs at once, beside the relay: each may have so much on the way that more of them would be
#: too much for ZMQ (`sshpyk.agent.helper`).
MOST_PROGRAMS = 3

#: Seconds after its last use after which the helper kernel ends.
IDLE = 5.0

#: Seconds for the server to start a kernel: it waits for it.
START_WITHIN = 60.0

#: Seconds for a program to begin.
ANSWER_WITHIN = 10.0

#: Seconds that a helper outlives our silence, unless a kernel has a longer lease.
LEASE = 600.0

#: Seconds at the end of this process for others to do without the helper, and to end it.
FAREWELL = 3.0
END_WITHIN = 4.0

#: How the helper's session is called in the server's lists.
NAME = "sshpyk helper"


class ServerTransport(ByRelay, Connected):
    """One server, as all carried kernels on it reach it."""

    keeps_watch = True

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address)
        self.server = Server(address)
        self.helper: Helper | None = None
        self._id = ""  # of the helper kernel, while there is one
        self._era = 0  # counts websockets
        self._lease = LEASE
        self._programs = asyncio.Semaphore(MOST_PROGRAMS)
        self._shared = SharedRelay(self)
        self._users: set[object] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_unused = asyncio.Event()

    @property
    def login(self) -> Login:
        command = self.server.address.login
        return Login(command, command, copy_key="", ask=command)

    def lend(self, lease: float) -> None:
        """A kernel is to outlive our silence for so many seconds, and so is the helper."""
        self._lease = max(self._lease, lease)
        if self.helper is not None:
            self.helper.lend(self._lease)

    def hold(self, user: object) -> None:
        """Somebody needs the helper until `let_go`."""
        self._users.add(user)

    def let_go(self, user: object) -> None:
        """Of `hold`."""
        self._users.discard(user)
        if not self._users:
            self._is_unused.set()
        self._used()

    async def make_room(self, user: object) -> bool:
        """End the helper if nobody but `user` needs it; whether there was one. Where few kernels
        are allowed it may have the place of theirs."""
        if not self._id or self._users - {user}:
            return False
        await self._end_kernel()
        return True

    # -- the connection --------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        helper = self.helper
        return helper.identity if helper is not None and helper.is_alive else None

    async def _connect(self, timeout: float) -> Identity:
        if self.helper is not None:
            self.helper.close()
            self.helper = None
        try:
            helper = await self._open(timeout) if self._id else await self._open_new()
        except LookupError:
            helper = await self._open_new()  # it is gone
        except trouble.NotCarried:
            # It is there and does not do what it should: the next attempt begins another.
            await asyncio.shield(asyncio.ensure_future(self._end_kernel()))
            raise
        self.helper = helper
        self.python = helper.python, None
        return helper.identity

    async def _open_new(self) -> Helper:
        """Start a helper kernel; once more where it dies as it starts, as when somebody has taken
        the ports that its server chose for it. Raises one of `trouble`."""
        for _ in range(2):
            await self._start_kernel()
            try:
                return await self._open(START_WITHIN)
            except BaseException as error:
                await asyncio.shield(asyncio.ensure_future(self._end_kernel()))
                if not isinstance(error, LookupError):
                    raise
        raise trouble.NotCarried(host=self.host, why="its helper kernels die as they start")

    async def _start_kernel(self) -> None:
        name = choose_python(await self.server.kernelspecs())
        if not name:
            raise trouble.NotCarried(host=self.host, why="it has no Python kernel")
        path = f"sshpyk-helper-{uuid.uuid4().hex[:8]}"
        model = {"path": path, "name": NAME, "type": "sshpyk", "kernel": {"name": name}}
        # Not ended with us: the server would start the kernel all the same.
        asking = asyncio.ensure_future(
            self.server.ask("POST", "sessions", body=model, timeout=START_WITHIN)
        )
        try:
            answer = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._came_late(done))
            raise
        except LookupError:
            raise trouble.NotCarried(host=self.host, why="it has no sessions") from None
        except trouble.ServerFailed as error:
            why = f"it does not start the helper kernel (HTTP {error.fields['status']})"
            raise trouble.NotCarried(host=self.host, why=why) from None
        self._take(answer)

    def _take(self, answer: object) -> None:
        kernel = answer.get("kernel") if isinstance(answer, dict) else None
        self._id = self.server.kernel_id(kernel)
        io_thread().farewells.add(self._farewell)

    def _came_late(self, done: asyncio.Future[object]) -> None:
        if not done.cancelled() and done.exception() is None:
            with contextlib.suppress(errors.SshpykError):
                self._take(done.result())
                self._used()

    async def _open(self, timeout: float) -> Helper:
        """Open a websocket to the helper kernel. Raises one of `trouble`, or `LookupError`."""

        async def work() -> Helper:
            self._era += 1
            helper = Helper(self.server, self._id, self._era, self._lease, self._heard)
            await helper.open(timeout=timeout)
            return helper

        return await twice(work)

    def _heard(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()

    def hurry(self) -> None:
        super().hurry()
        if self.helper is not None:
            self.helper.doubt()

    async def _answers(self) -> bool:
        try:
            async with self.run("exit 0", is_lasting=True) as program:
                await within(ANSWER_WITHIN, program.wait())
        except (errors.HostError, TimeoutError):
            return False
        return True

    # -- the helper kernel's end -----------------------------------------------------------------

    def _used(self) -> None:
        def look() -> None:
            if not self._users:
                task = asyncio.ensure_future(self._end_kernel())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE, look)

    async def _end_kernel(self) -> None:
        """End the helper kernel, as far as the server can be asked now; else its lease does."""
        id, self._id = self._id, ""
        helper, self.helper = self.helper, None
        if helper is not None:
            helper.close()
        io_thread().farewells.discard(self._farewell)
        if id:
            with contextlib.suppress(errors.SshpykError, LookupError):
                await self.server.ask("DELETE", "kernels", id, timeout=START_WITHIN)

    async def _farewell(self) -> None:
        """This process ends: so does the helper, once the links have said goodbye through it."""
        with contextlib.suppress(TimeoutError):
            if self._users:
                self._is_unused.clear()
                await within(FAREWELL, self._is_unused.wait())
        with contextlib.suppress(TimeoutError):
            await within(END_WITHIN, self._end_kernel())

    # -- programs --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        async with contextlib.nullcontext() if is_lasting else self._programs:
            helper = self.helper
            if helper is None or not helper.is_alive:
                why = helper.why if helper is not None else ""
                raise errors.ConnectionLost(host=self.host, details=why)
            program = HelperProgram(helper, command)
            self.hold(program)
            try:
                yield program
            finally:
                program.close()
                self.let_go(program)

    # -- agents ----------------------------------------------------------------------------------

    async def dialer(self, listening: Listening) -> Dialer | None:
        helper = self.helper
        if helper is None or not helper.is_alive:
            raise errors.ConnectionLost(host=self.host, details="")
        self.python = helper.python, None
        return await self._shared.dialer(listening)

    async def way(self) -> str:
        return "a helper kernel, which runs one program of ours for all kernels"

    def node(self, name: str) -> Transport:
        raise errors.OtherPlace(host=self.host, node=name, command=self.login.command)


_transports: Registry[ServerAddress, ServerTransport] = Registry(ServerTransport)


def transport(address: ServerAddress) -> ServerTransport:
    """The process's one transport for a server; call it on the I/O thread."""
    return _transports.get(address)
