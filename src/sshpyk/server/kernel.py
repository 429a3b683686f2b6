"""A kernel of a Jupyter Server, as a `RemoteKernel`: what a browser would see of it, made local.

Its websocket is one that the server may lose output on: there are no positions in it, so nobody can
ask again for what was on the way. What may have been lost is told, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import socket
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..link.clock import boot_time
from ..link.stages import Stages
from ..link.thread import io_thread
from ..remotekernel import RemoteKernel, Stage, State
from ..wire.liveness import Backoff, Liveness, Patience
from . import binder, hub, sessions, through, trouble
from .address import ServerKernelAddress
from .channels import Channels
from .endpoints import Endpoints
from .exchange import ANSWERED, SHUTDOWN, Exchange
from .rest import twice

if TYPE_CHECKING:
    from ..link.log import KernelLog
    from ..wire.requests import KernelRequest, Keys, LaunchRequest
    from .rest import Server

#: Seconds between looks whether the clock has jumped, and whether the server is silent.
WATCH = 1.0

#: Seconds that a goodbye may take, when the server is there and when it is out of reach.
END_WITHIN = 8.0
AWAY_WITHIN = 1.0

#: Seconds between attempts where the server wants a person: hosts count failures.
FOR_A_PERSON = 30.0

#: Seconds between looks whether a kernel that was told to end has: its server waits for it.
LOOKS = (0.2, 0.5, 1.0, 2.0, 4.0)

#: Seconds after which a kernel that says nothing to a request is looked for.
SILENCE = 5.0


class ServerKernel(RemoteKernel):
    """A kernel on `server`. `keys` are those of the clients on this machine; `kernel_id` is one
    that runs there already; `options` are for a JupyterHub that has to start the server."""

    def __init__(
        self,
        server: Server,
        log: KernelLog,
        keys: Keys,
        *,
        kernel_id: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(server.host)
        self.server = server
        self.log = log
        self.kernel_id = kernel_id
        self._name = ""  # of its kernelspec there, once it is known
        self._keys = keys
        self._options = options
        self._session_id = uuid.uuid4().hex
        self._endpoints = Endpoints(keys, log, self._session_id, self._on_local)
        self._exchange = Exchange(
            self._session_id, log, to_client=self._endpoints.send, to_kernel=self._send
        )
        self._channels: Channels | None = None
        self._closed: asyncio.Future[str] | None = None  # why the present channels have ended
        self._liveness = Liveness(self._now())
        self._asked_at = 0.0  # when a client last asked for something
        self._stages = Stages(lambda stage: self._update(stage=stage, progress=""))
        self._backoff = Backoff()
        self._patience = Patience()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._creating: asyncio.Task[sessions.Found] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._said = ""  # by the Hub, the last of it
        self._is_ours = False  # whether we have started it
        self._is_held = False
        self._is_deleted = False
        self._deleting = asyncio.Lock()

    @property
    def address(self) -> ServerKernelAddress:
        return ServerKernelAddress(self.server.address, self.kernel_id)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- starting and attaching ------------------------------------------------------------------

    async def start(
        self, request: LaunchRequest, sockets: Mapping[str, socket.socket], *, timeout: float
    ) -> None:
        async def work() -> None:
            self._endpoints.listen(sockets)
            await self._have_server()
            self._stages.at(Stage.LAUNCH)
            if not self.kernel_id:
                # Not ended with us: the server would start the kernel all the same.
                creating = sessions.find_or_create(self.server, request, self.log)
                self._creating = self._spawn(creating)
                self._take(await asyncio.shield(self._creating))
            await self._connect(timeout)

        await self._begin(work(), timeout)

    async def attach(self, sockets: Mapping[str, socket.socket], *, timeout: float) -> None:
        async def work() -> None:
            self._endpoints.listen(sockets)
            self.ends_with_us = False
            await self.server.arrive()
            try:
                await self._connect(timeout)
            except trouble.NoServerKernel:
                self.is_gone = True
                raise self._gone_error() from None

        await self._begin(work(), timeout)

    async def restart(
        self,
        kernel: KernelRequest | None,
        sockets: Mapping[str, socket.socket],
        *,
        timeout: float,
    ) -> None:
        async def work() -> None:
            self._endpoints.listen(sockets)
            self._stages.at(Stage.RESTART)
            await self._stop_keeping()
            await self._have_server()
            try:
                await sessions.restart(self.server, self.kernel_id)
            except LookupError:
                self._gone()
                raise self._gone_error() from None
            self._exchange.requests.open.clear()  # nobody waits for a kernel that was started again
            self._update(exited=None, busy=None, busy_since=None)
            await self._connect(timeout)

        try:
            await self._stages.run(work(), timeout)
        except TimeoutError:
            raise self._timeout(timeout) from None
        finally:
            if self._keeping is None and not self.is_gone:
                self._keep()  # the kernel that was there goes on

    async def _begin(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        self._update(state=State.STARTING)
        try:
            await self._stages.run(work, timeout)
        except BaseException as error:
            # Shielded: a second cancellation must not leave half of it behind.
            await asyncio.shield(asyncio.ensure_future(self._give_up()))
            if isinstance(error, TimeoutError):
                raise self._timeout(timeout) from None
            raise
        io_thread().farewells.add(self._farewell)
        self._spawn(self._watch())

    async def _have_server(self) -> None:
        """Have a way to the server, and a JupyterHub start it where it does not run.

        Raises one of `errors`.
        """
        if self.server.address.through is not None:
            with self._stages.stage(Stage.LOGIN, limit=through.CONNECT + through.START):
                await self.server.arrive()
        if self.server.address.is_binders:
            with self._stages.stage(Stage.SERVER, limit=binder.BUILD):
                await binder.launch(self.server, self._tell_progress)
        if await hub.is_away(self.server):
            with self._stages.stage(Stage.SERVER, limit=hub.START):
                await hub.start(self.server, self._options, self._tell_progress)

    def _tell_progress(self, said: str) -> None:
        self._said = said
        if said != self.status.progress:
            self.log.info("< it starts: %s", said)
            self._update(progress=said)

    def _take(self, found: sessions.Found) -> None:
        self.kernel_id, self._name, self._is_ours = found

    async def _connect(self, timeout: float) -> None:
        """Open the channels for the first time, and describe the kernel."""
        self._stages.at(Stage.SOCKETS)
        try:
            self._name = self._name or await self.server.kernel_name(self.kernel_id)
            await twice(lambda: self._open(timeout))
        except LookupError:
            host, url = self.server.host, self.server.address.url
            if self._name:
                raise trouble.ServerKernelDied(name=self._name, host=host, url=url) from None
            raise trouble.NoServerKernel(id=self.kernel_id, host=host, url=url) from None
        self._describe()
        self._keep()

    def _describe(self) -> None:
        self.facts = {
            "pid": 0,  # the server does not tell
            "bound": True,
            "exited": None,
            "name": self._name,
            "display_name": self._name,
            "language": "",
            "interrupt_mode": "signal",
            "cwd": "",
            "home": "",
            "curve": "curve_publickey" in self._keys,
        }

    async def _give_up(self) -> None:
        """Take back a start that failed or was cancelled."""
        self.log.info("= taking the start back")
        if self._creating is not None:
            with contextlib.suppress(Exception):
                self._take(await within(END_WITHIN, self._creating))
        if self._is_ours:
            with contextlib.suppress(errors.SshpykError, LookupError, TimeoutError):
                await within(END_WITHIN, self._delete())
        await self._dismantle()

    # -- the websocket ---------------------------------------------------------------------------

    async def _open(self, timeout: float) -> None:
        """Raises one of `errors`, and `LookupError` where there is no such kernel any more."""
        await self.server.arrive()
        closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_closed(why: str) -> None:
            if not closed.done():
                closed.set_result(why)

        channels = Channels(self._on_remote, self._on_heard, on_closed, self._read_clients)
        self._channels, self._closed = channels, closed
        await channels.open(self.server, self.kernel_id, self._session_id, timeout=timeout)
        self._exchange.topic = f"kernel.{self.kernel_id}".encode()
        self._on_heard()
        self._backoff.reset()
        self._patience.reset()
        self.log.info("= connected")
        state = State.CONNECTED if self.exited is None else State.EXITED
        self._update(state=state, trouble=None, next_try=None)
        self._read_clients()

    def _on_heard(self) -> None:
        self._liveness.heard(self._now())

    def _read_clients(self) -> None:
        """Read what clients send, while it can go on; else it waits with them."""
        channels = self._channels
        goes_on = channels is not None and channels.is_open and not channels.is_full
        for channel in ANSWERED:
            is_held = channel == "control" and self._is_held
            self._endpoints.read(channel, goes_on and not is_held)

    def _keep(self) -> None:
        self._keeping = self._spawn(self._stay_connected())

    async def _stop_keeping(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if self._channels is not None:
            self._channels.close()
        self._read_clients()

    async def _stay_connected(self) -> None:
        """Connect again whenever the connection has ended, for as long as it takes."""
        while self._closed is not None:
            channels = self._channels
            is_open = channels is not None and channels.is_open
            why = await self._closed if is_open or self._closed.done() else "no connection"
            was_busy, running = self._is_at_work, self._exchange.running
            since = channels.whole_until if channels is not None else time.time()
            self.log.warning("! %s; reconnecting", why)
            if self.exited is None:
                self._update(state=State.AWAY)
            self._read_clients()
            try:
                await self._reconnect()
            except LookupError:
                self._gone()
                return
            if was_busy:
                until = time.time()
                self._update(gap=(since, until))
                self._exchange.tell_gap(since, until, running)
            self._exchange.set_fences(was_busy)

    async def _reconnect(self) -> None:
        while True:
            # The first try comes at once.
            self._hurry.clear()
            pause = self._backoff.pause()
            try:
                await self._open(self._patience.next(0.0))
                return
            except errors.SshpykError as error:
                if isinstance(error, trouble.ServerSilent):
                    self._patience.ran_out()
                if isinstance(error, errors.NeedsPerson):
                    pause = FOR_A_PERSON
                self._tell_trouble(error, pause)
            except LookupError:
                raise
            except Exception:
                # A defect of ours must not leave the kernel out of reach for good.
                self.log.exception("! reconnecting failed")
            with contextlib.suppress(TimeoutError):
                await within(pause, self._hurry.wait())

    def _tell_trouble(self, error: errors.SshpykError, pause: float) -> None:
        before = self.status.trouble
        if before is None or str(before) != str(error):
            self.log.warning("! %s", error.line)
        self._update(trouble=error, next_try=time.time() + pause if pause >= 1.0 else None)

    async def _watch(self) -> None:
        """Ping, and notice when the clock jumps."""
        before = boot_time()
        while True:
            await asyncio.sleep(WATCH)
            if boot_time() - before > 3 * WATCH:
                self.log.info("= the clock jumped: looking at once")
                self._liveness.hurry(self._now())
                self.retry()
            before = boot_time()
            channels = self._channels
            if channels is None or not channels.is_open:
                continue
            if self._waits_for_host():
                self._liveness.heard(self._now())
                continue
            is_silent = time.time() - self._asked_at > SILENCE
            if self._exchange.requests.open and not self.status.busy and is_silent:
                self._asked_at = time.time() + 60.0  # so often at most
                self._look_soon(after_shutdown=False)
            verdict = self._liveness.tick(self._now())
            if verdict == "lost":
                channels.abort("the server does not answer")
            elif verdict == "ping" or self._is_at_work:
                channels.ping()  # while it is at work also for how far all has come

    @property
    def _is_at_work(self) -> bool:
        """Whether the kernel may be sending something now, as far as was heard of it."""
        asked = self._exchange.requests.open
        return bool(self.status.busy or asked or not self._exchange.is_quiet)

    def _waits_for_host(self) -> bool:
        """Whether the server is of a host that is out of reach: then the websocket waits as it is,
        and nothing is lost."""
        away, state = self.server.away, self.status.state
        if away is not None and state is State.CONNECTED:
            self._update(state=State.AWAY, trouble=away.trouble, next_try=away.next_try)
        elif away is None and state is State.AWAY:
            self._update(state=State.CONNECTED, trouble=None, next_try=None)
        return away is not None

    def retry(self) -> None:
        self._hurry.set()

    # -- messages --------------------------------------------------------------------------------

    def _on_local(self, channel: str, identities: list[bytes], parts: list[bytes]) -> None:
        """A client has sent a message: it goes to the kernel, but for one that would end it.

        Its server would take that for a death and start it again, so what is wanted is asked of
        the server. Raises `FramingError`.
        """
        request = self._exchange.requests.add(channel, identities, parts[0])
        if request.type == "shutdown_request":
            if self._exchange.answer_shutdown(request, parts[3]):
                self._exited("")  # whoever asks for this starts it again next, with `restart`
            else:
                self._spawn(self._delete_and_say())
            return
        self._asked_at = max(self._asked_at, time.time())
        if not self._send(channel, parts):
            # Reading ends when the connection does, so this came in between.
            self._exchange.lost(request)

    def _send(self, channel: str, parts: Sequence[bytes]) -> bool:
        """Send a message to the kernel; whether there is a connection to do that."""
        channels = self._channels
        if channels is None or not channels.is_open:
            return False
        channels.send(channel, parts)
        if channels.is_full:
            self._read_clients()
        return True

    def _on_remote(self, channel: str, parts: list[bytes]) -> None:
        """The kernel has sent a message. Raises `FramingError`."""
        told = self._exchange.from_kernel(channel, parts)
        if told in ("busy", "idle"):
            busy = told == "busy"
            if busy != self.status.busy:
                self._update(busy=busy, busy_since=time.time())
        elif told == SHUTDOWN:
            self._look_soon(after_shutdown=True)
        elif told is not None and self.exited is None:
            # The server's own word, for the kernel can't say so.
            self.log.warning("! the kernel died; the server says: %s", told)
            self._update(busy=None, busy_since=None)
            if told == "dead":
                self._exited("the server has given up starting it again")
            else:
                self._exchange.set_fences(False)

    def _look_soon(self, *, after_shutdown: bool) -> None:
        """See whether the kernel is there still: where somebody else ends it the server says
        nothing, and keeps the websocket open."""
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._look(after_shutdown))

    async def _look(self, after_shutdown: bool) -> None:
        for pause in LOOKS:
            await asyncio.sleep(pause)
            if self.status.state is not State.CONNECTED:
                return
            try:
                await self.server.ask("GET", "kernels", self.kernel_id)
            except LookupError:
                self._gone()
                return
            except errors.SshpykError as error:
                self.log.info("! %s", error.line)
        if after_shutdown:
            self._exchange.set_fences(False)  # it was started again

    async def _delete_and_say(self) -> None:
        try:
            await self._delete()
        except (errors.SshpykError, LookupError) as error:
            self.log.warning("! the kernel could not be shut down: %s", error)
            return
        self.is_gone = True
        self._exited("")

    # -- signals ---------------------------------------------------------------------------------

    async def signal(self, signum: int) -> None:
        if signum == signals.SIGINT:
            self._spawn(self._interrupt())
        elif signum in (signals.SIGTERM, signals.SIGKILL):
            # What comes next says what is meant: `end`, or `restart`, of which each is one request.
            if self.status.state is State.CONNECTED:
                self._exited("")
        else:
            self.log.warning("! a Jupyter Server passes no signal on but an interrupt: %s", signum)

    async def _interrupt(self) -> None:
        while self.status.state is State.AWAY:
            self._changed.clear()
            await self._changed.wait()
        if self.status.state is State.CONNECTED:
            try:
                await self.server.ask(
                    "POST", "kernels", self.kernel_id, "interrupt", timeout=sessions.SLOW
                )
            except (errors.SshpykError, LookupError) as error:
                self.log.warning("! the kernel could not be interrupted: %s", error)

    async def hold(self, held: bool) -> None:
        self._is_held = held
        self._read_clients()

    # -- how it is -------------------------------------------------------------------------------

    def _update(self, **changes: Any) -> None:
        super()._update(**changes)
        self._changed.set()

    def _exited(self, note: str) -> None:
        if self.exited is None:
            self.log.info("= the kernel ended%s", note and f": {note}")
            code = 1 if note else 0
            exited = {"pid": 0, "code": code, "signum": None, "stderr": "", "note": note}
            self._update(exited=exited, state=State.EXITED, busy=None, busy_since=None)

    def _gone(self) -> None:
        self.is_gone = True
        self._exited("the server does not have it any more: it was restarted, or shut it down")

    def _gone_error(self) -> errors.SshpykError:
        why = self.exited["note"] if self.exited is not None else ""
        return trouble.ServerKernelGone(host=self.server.host, why=why or "it was shut down")

    def _timeout(self, seconds: float) -> errors.SshpykError:
        if self.status.trouble is not None:
            return self.status.trouble
        stage = self._stages.last.value
        if self._stages.last is Stage.SERVER:
            limit = binder.BUILD if self.server.address.is_binders else hub.START
            place = self.server.address.hub
            page = self.server.address.url if place is None else place.page
            return trouble.StillStarting(
                host=self.server.host, seconds=limit, stage=self._said or stage, url=page
            )
        return trouble.ServerTimeout(host=self.server.host, seconds=seconds, stage=stage)

    async def exit_seen(self) -> None:
        while self.exited is None and self.status.state is not State.CLOSED:
            self._changed.clear()
            await self._changed.wait()

    def seeing(self, seeing: bool, *, resumed: bool = False) -> None:
        """Nothing of ours is there to keep what nobody sees."""

    def seen(self, message: str) -> None:
        """The same."""

    async def watch_activity(self) -> None:
        """It is known from the first message on."""

    async def resolve(self, path: str) -> str | None:
        return None

    def has_client(self, channel: str) -> bool:
        return self._endpoints.has_client(channel)

    # -- the end ---------------------------------------------------------------------------------

    async def leave(self) -> None:
        await self._dismantle()

    async def end(self) -> None:
        if self.status.state in (State.NEW, State.CLOSED) or self.is_gone:
            await self._dismantle()
            return
        patience = AWAY_WITHIN if self.status.state is State.AWAY else END_WITHIN
        io_thread().farewells.discard(self._farewell)
        ending = self._spawn(self._end())
        done, _ = await asyncio.wait([ending], timeout=patience)
        if not done:
            self.log.warning("! out of reach: the kernel is ended once the server is back")

    async def _end(self) -> None:
        await self._stop_keeping()
        while not self._is_deleted:
            try:
                await self._delete()
            except LookupError:
                break
            except (trouble.ServerFailed, trouble.ServerStopped) as error:
                self.log.warning("! the kernel could not be ended: %s", error)
                break
            except errors.SshpykError as error:
                self._tell_trouble(error, FOR_A_PERSON)
                is_for_person = isinstance(error, errors.NeedsPerson)
                await asyncio.sleep(FOR_A_PERSON if is_for_person else self._backoff.pause())
        await self._dismantle()

    async def _delete(self) -> None:
        async with self._deleting:  # a client may ask for it just when we do
            if not self._is_deleted:
                await self.server.ask("DELETE", "kernels", self.kernel_id, timeout=sessions.SLOW)
                self._is_deleted = True

    async def _farewell(self) -> None:
        """This process ends."""
        await (self.end() if self.ends_with_us else self.leave())

    async def _dismantle(self) -> None:
        if self.status.state is State.CLOSED:
            return
        self._update(state=State.CLOSED)
        io_thread().farewells.discard(self._farewell)
        if self._channels is not None:
            self._channels.close()
        self._endpoints.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.server.leave()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        is_start = task is self._creating  # whoever waits for it gets its exception
        if not task.cancelled() and task.exception() is not None and not is_start:
            self.log.error("! a task of the kernel failed", exc_info=task.exception())
