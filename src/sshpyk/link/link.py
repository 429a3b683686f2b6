"""A link: everything between one client and one agent, as a `RemoteKernel`.

It launches the agent or attaches to one, keeps the streams carried, and when the connection breaks
it reconnects for as long as it takes. What it does when is decided in `connectivity`; here it is
done.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal

from .. import errors
from ..aio import take_exception, within
from ..remotekernel import RemoteKernel, Stage
from ..remotekernel import State as KernelState
from ..transport import answers, jobs
from ..wire import exits
from ..wire.frames import ProtocolError
from ..wire.liveness import Backoff
from .address import AgentAddress, KernelAddress
from .clock import boot_time
from .connectivity import Connectivity, Outcome, State, Step
from .ending import Ending
from .ports import Ports
from .requests import Requests
from .stages import Stages
from .streams import Streams
from .thread import io_thread

if TYPE_CHECKING:
    from ..transport.base import Dialer, Identity, Transport
    from ..wire.control import Message
    from ..wire.ports import Target
    from ..wire.requests import (
        Exit,
        KernelRequest,
        LaunchRequest,
        MemoryShort,
        ProbeRequest,
        ResolveRequest,
    )
    from .first import FirstCarrier
    from .log import KernelLog
    from .pacing import Limits
    from .ports import LocalPort

#: The share of a start's time that the login may take: less than all, so that who gives up is the
#: transport, which can say why.
LOGIN_SHARE = 0.9

#: Seconds beyond its own patience that a start may be at a scheduler, which may be slow.
SCHEDULER_MARGIN = 60.0

#: Seconds for the agent's welcome through a fresh dialer.
WELCOME_WITHIN = 5.0

#: Seconds between looks whether the clock has jumped: a laptop woke up, or we were stopped.
WATCH = 1.0

#: Seconds for the launch's session to end by itself.
END_SESSION_WITHIN = 5.0

#: Seconds that the agent has to end its kernel and say so, and those when it is out of reach.
END_WITHIN = 8.0
AWAY_WITHIN = 1.0

#: Seconds for the host to say whether it has a file.
RESOLVE_WITHIN = 10.0

#: Seconds ahead from which the next attempt is worth telling.
SOON = 1.0

#: What an agent listens on, by how it is to be reached (`Transport.family`).
SOCKETS: Mapping[str, Literal["unix", "tcp"]] = {"unix": "unix", "tcp": "tcp", "relay": "unix"}

#: What a link's state means for the kernel, while that has not exited.
SHOWN = {
    State.NEW: KernelState.NEW,
    State.CONNECTING: KernelState.STARTING,
    State.UP: KernelState.CONNECTED,
    State.LOST: KernelState.AWAY,
    State.GONE: KernelState.EXITED,
    State.CLOSED: KernelState.CLOSED,
}


class Link(RemoteKernel):
    """The client's end of everything.

    `agent` is where the agent is or will be, `pythonhome` what its Python is lent as PYTHONHOME,
    `limits` those of the Jupyter Server that reads iopub.
    """

    def __init__(
        self,
        transport: Transport,
        agent: AgentAddress,
        log: KernelLog,
        *,
        pythonhome: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(transport.host)
        self.transport = transport
        self.agent = agent
        self.log = log
        self.queue_timeout = 60.0  # seconds that a start waits for an allocation
        self.may_submit = True  # whether a start may ask for an allocation where there is none
        self.streams = Streams(self, log, agent.token)
        self.streams.limits = limits
        self.ports = Ports(agent.id, transport.host, self.streams, log, self._show_ports)
        self._pythonhome = pythonhome
        self._connectivity = Connectivity(self.streams.now())
        self._requests = Requests(self._say)
        self._stages = Stages(lambda stage: self._update(stage=stage))
        self._backoff = Backoff()  # of attempts to attach
        self._connection: Identity | None = None
        self._dialer: Dialer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = Ending()
        self._hurry = asyncio.Event()
        self._heard = asyncio.Event()
        self._changed = asyncio.Event()  # of what the agent says of the kernel
        self._is_starting = False
        self._is_bound = False
        self._expects_exit = False  # whether we have asked for it
        self._wants_memory = False  # whether it is to be told when that is almost full
        self.opens_printed = False  # whether URLs that the kernel prints have their ports opened
        self._job: jobs.Job | None = None  # while the launch owes its first answer

    @property
    def address(self) -> KernelAddress:
        return KernelAddress(self.transport.destination, self.agent)

    # -- starting and attaching ------------------------------------------------------------------

    async def start(
        self, request: LaunchRequest, sockets: Mapping[str, socket.socket], *, timeout: float
    ) -> None:
        async def work() -> None:
            self.streams.listen(sockets)
            await self._log_in(timeout)
            await self._find_place()
            await self._enter(request, timeout)
            self._ask_to_be_told()

        await self._begin(work(), timeout)

    async def _enter(self, request: LaunchRequest, timeout: float) -> None:
        """Launch the agent, or attach to the one that is there, and wait for the kernel."""
        self._stages.at(Stage.LAUNCH)
        async with contextlib.AsyncExitStack() as ahead:
            is_there = await self._launch(request, timeout, ahead)
            if is_there:
                await self._attach(timeout)
        if is_there and self.exited is not None:
            await self._ask_to_restart(None)
        self._stages.at(Stage.SOCKETS)
        await self._wait_bound()
        if not is_there:
            self._confirm(request)

    async def attach(self, sockets: Mapping[str, socket.socket], *, timeout: float) -> None:
        self.was_there = True

        async def work() -> None:
            self.streams.listen(sockets)
            await self._attach(timeout)
            self._ask_to_be_told()

        await self._begin(work(), timeout)

    async def restart(
        self,
        kernel: KernelRequest | None,
        sockets: Mapping[str, socket.socket],
        *,
        timeout: float,
    ) -> None:
        async def work() -> None:
            self.streams.listen(sockets)
            self._stages.at(Stage.RESTART)
            await self._restart(kernel)

        try:
            await self._stages.run(work(), timeout)
        except TimeoutError:
            raise self._timeout(timeout) from None

    async def _restart(self, kernel: KernelRequest | None) -> None:
        await self._ask_to_restart(kernel)
        await self._wait_bound()

    async def _begin(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        self._is_starting = True
        self._connectivity.become(State.CONNECTING)
        self._show()
        try:
            await self._stages.run(work, timeout)
        except BaseException as error:
            # Shielded: a second cancellation must not leave half of it behind.
            await asyncio.shield(asyncio.ensure_future(self._give_up()))
            if isinstance(error, (errors.SchedulerTooOld, errors.NoHolder)):
                await self.transport.give_back()
            if isinstance(error, TimeoutError):
                raise self._timeout(timeout) from None
            if isinstance(error, ProtocolError):
                raise errors.StrangeAgent(host=self.transport.host, what=str(error)) from None
            raise
        self._is_starting = False
        self._show()

    async def _log_in(self, timeout: float) -> None:
        self._stages.at(Stage.LOGIN)
        try:
            self._connection = await self.transport.ensure(timeout=LOGIN_SHARE * timeout)
        except errors.NeedsPerson as error:
            if not self.person_timeout or isinstance(error, errors.HostKeyChanged):
                raise
            self._tell_trouble(error)
            with self._stages.stage(Stage.PERSON, self.person_timeout):
                self._connection = await self._person_logged_in()
            self._update(trouble=None)

    async def _person_logged_in(self) -> Identity:
        """The connection that a person has made, somewhere."""
        while True:
            with contextlib.suppress(errors.NeedsPerson):  # our own attempt, once in minutes
                return await asyncio.shield(self.transport.reconnect(None))

    async def _find_place(self) -> None:
        """Go on to where the kernel will be, where the host only leads there."""
        if not self.transport.is_lent:
            return

        def say(why: str) -> None:
            self._stages.at(Stage.QUEUED)
            if why != self.status.progress:
                self.log.info("= queued: %s", why)
            self._update(progress=why)

        patience = self.queue_timeout
        with self._stages.stage(Stage.ALLOCATION, patience + SCHEDULER_MARGIN):
            self.transport = await self.transport.allocate(
                say, patience=patience, may_submit=self.may_submit
            )
            self._connection = await self.transport.ensure(timeout=SCHEDULER_MARGIN)
        self._update(progress="", ends_at=self.transport.ends_at)

    async def _launch(
        self, request: LaunchRequest, timeout: float, ahead: contextlib.AsyncExitStack
    ) -> bool:
        """Launch the agent; whether it was there already. What is begun beside the launch to reach
        the agent ends with `ahead`."""
        agent, transport = self.agent, self.transport
        family = transport.family
        whole: LaunchRequest = {**request, "streams": SOCKETS[family], "launch_timeout": timeout}
        first: FirstCarrier | None = None
        if transport.knows_way:
            self.streams.greets = "curve_publickey" not in request["kernel"]
            first = self.streams.begin_first()
            whole["carrier"] = first.ahead
        async with contextlib.AsyncExitStack() as session:
            job = jobs.Job(transport, agent.python, whole, self._pythonhome)
            await session.enter_async_context(job)
            self._job = job
            way = transport.ahead(agent.python, self._pythonhome)
            job.on_no_room = await ahead.enter_async_context(way)
            answer = await job.answer()
            self._job = None
            self._take_keys(answer.get("keys"))
            if "existing" in answer:
                self.was_there = True
                self.agent = agent.of_record(answer["existing"], agent.python)
                if first is not None:
                    self.streams.begin_anew()  # that was for a new agent
                    self.streams.greets = False
                self.streams.use_token(self.agent.token)
                return True
            agent.found(answer, answer["listening"])
            self._describe(answer["kernel"])
            self._stages.at(Stage.AGENT)
            if first is not None:
                await self._go_on(first, job, session.pop_all())
                return False
            self.streams.greets = not answer["kernel"]["curve"]
            # Until "attached" is said the agent ends with this job, whatever happens here.
            while not await self._connect():
                family = transport.refused(family)
                job.say(SOCKETS[family])
                agent.listening = (await job.answer())["listening"]
            self._now_connected()
            job.say("attached")
            self._spawn(self._let_go(job, session.pop_all()))
            return False

    def _take_keys(self, keys: Mapping[str, str] | None) -> None:
        """The launched agent's kernel has these, where it is not new."""
        self.found_keys = keys

    async def _go_on(
        self, first: FirstCarrier, job: jobs.Job, session: contextlib.AsyncExitStack
    ) -> None:
        """Go on by the launch's session, until there are forwards."""

        async def carry() -> None:
            async with session:
                await first.carry(job)

        carrying = self._spawn(carry())
        first.on_abort = carrying.cancel
        is_taken = False
        try:
            is_taken = await self.streams.take_first(first, WELCOME_WITHIN)
        finally:
            if not is_taken:
                self.transport.forget_way()  # the next start waits for its forwards
        if not is_taken:
            raise first.error or errors.ConnectionLost(host=self.transport.host, details="")
        self._now_connected()
        self._spawn(self._move_from(first))

    async def _move_from(self, first: FirstCarrier) -> None:
        """Carry the streams by a dialer's connections, and let the launch's session end.

        Where that fails, it ends as well, and reconnecting finds out what leads to the agent.
        """
        attached = asyncio.ensure_future(self._requests.ask("attached"))
        attached.add_done_callback(take_exception)
        try:
            if await self._move():
                await attached
                first.end()
                await within(END_SESSION_WITHIN, first.ended.wait())
            elif not first.is_over:
                self.log.warning("! the agent is not reached as the one before it was")
                self.transport.forget_way()
        except (errors.SshpykError, ProtocolError, OSError) as error:
            self.log.warning("! the launch's session ends: %s", error)
        finally:
            attached.cancel()
            first.abort()

    async def _move(self) -> bool:
        """Whether a dialer's connections have the streams now."""
        dialer = await self.transport.dialer(self.agent.listening)
        if dialer is None:
            return False
        if self._dialer is not None or not self.streams.is_connected:
            await dialer.close()  # the session has broken meanwhile
            return False
        self._dialer = dialer
        return await self.streams.move(dialer, WELCOME_WITHIN)

    async def _let_go(self, job: jobs.Job, session: contextlib.AsyncExitStack) -> None:
        """Keep the launch's session until the agent has heard that it need not end with that."""
        async with session:
            try:
                await job.answer()
            except errors.SshpykError as error:
                self.log.debug("! the launch's session ended: %s", error)

    def _confirm(self, request: LaunchRequest) -> None:
        """Tell the agent that the launch is over and its client there: else it would end.

        Nobody waits for it: were it lost with the connection, so would be all that comes behind
        it, and a kernel that ends then has not done anything.
        """
        terms = {"persistent": request["persistent"], "lease": request["lease"]}
        self._say("settings", number=0, **terms)

    async def _attach(self, timeout: float) -> None:
        self.ends_with_us = False
        while True:
            # Each time: the connection may have been about to die when it was looked at.
            await self._log_in(timeout)
            self._stages.at(Stage.AGENT)
            try:
                if await self._connect():
                    break
                outcome = await self._probe()
            except errors.ConnectionLost:
                outcome = Outcome.FAILED
            if outcome is Outcome.NOBODY:
                assert self.exited is not None
                why = errors.describe_exit(self.exited)
                raise errors.KernelGone(host=self.transport.host, why=why)
            await asyncio.sleep(self._backoff.pause())
        self._now_connected()
        self._describe(await self._requests.ask("state"))

    async def _ask_to_restart(self, kernel: KernelRequest | None) -> None:
        self._is_bound = False
        self._expects_exit = True
        facts = await self._requests.ask("start", kernel=kernel or {})
        self._expects_exit = False
        self._describe(facts)

    async def _wait_bound(self) -> None:
        """Wait until the kernel's sockets are there. Raises `KernelDied` where it dies before."""
        while not self._is_bound:
            if self.exited is not None:
                raise self._died(self.exited)
            self._changed.clear()
            await self._changed.wait()

    async def _give_up(self) -> None:
        """Take back a launch or an attachment that failed or was cancelled."""
        if self._connectivity.state is State.UP:
            wish = self._requests.ask("end" if self.ends_with_us else "leave")
            with contextlib.suppress(errors.RemoteError, TimeoutError):
                await within(END_WITHIN, wish)
        await self._dismantle()

    # -- connecting ------------------------------------------------------------------------------

    async def _connect(self) -> bool:
        """A dialer, a control carrier, its welcome; then call `_now_connected`, or `done`.

        False where the dialer leads to no agent. Raises `ProtocolError` where it refuses us,
        TimeoutError where nothing is heard.
        """
        await self._drop_dialer()
        self._dialer = await self.transport.dialer(self.agent.listening)
        if self._dialer is None or not await self.streams.connect(self._dialer, WELCOME_WITHIN):
            return False
        is_unix = all(isinstance(address, str) for address in self.agent.listening.values())
        self.transport.reached("unix" if is_unix else "tcp")
        return True

    async def _drop_dialer(self) -> None:
        self.streams.cut()
        dialer, self._dialer = self._dialer, None
        if dialer is not None:
            await dialer.close()

    def _now_connected(self) -> None:
        if self._connectivity.state is not State.UP:
            self._connectivity.connected(self.streams.now())
        self.streams.pace()
        self._update(trouble=None, next_try=None)
        self._show()
        if self._farewell not in io_thread().farewells:
            io_thread().farewells.add(self._farewell)
            self._spawn(self._watch())

    def _show(self) -> None:
        """Have `status` say what is so now."""
        state = SHOWN[self._connectivity.state]
        if self._is_starting and state is KernelState.CONNECTED:
            state = KernelState.STARTING
        if self.exited is not None and state in (KernelState.CONNECTED, KernelState.AWAY):
            state = KernelState.EXITED
        if state is not self.status.state:
            self.log.info("= %s", state.value)
        self._update(state=state)

    # -- staying connected -----------------------------------------------------------------------

    def on_heard(self) -> None:
        """Called by the streams: something came from the host."""
        self.transport.heard_at = now = self.streams.now()
        if self._connectivity.heard(now):
            self.streams.pace()
        self._heard.set()

    def on_broken(self) -> None:
        """Called by the streams: the control carrier has ended."""
        self.streams.cut()
        self._lose("the connection broke", broken=True)

    async def _watch(self) -> None:
        """Ping, and notice when the clock jumps."""
        before = boot_time()
        while True:
            await asyncio.sleep(WATCH)
            now = self.streams.now()
            if boot_time() - before > 3 * WATCH:
                self.log.info("= the clock jumped: looking at once")
                self._connectivity.woke(now)
                self.retry()
            before = boot_time()
            if self._ending.is_due(time.time(), self.transport.ends_at):
                self._spawn(self._warn_of_end())
            verdict = self._connectivity.tick(now, self.transport.heard_at)
            if verdict == "ping" and self.transport.keeps_watch and not self.streams.is_owed:
                self._connectivity.heard(now)
            elif verdict == "ping":
                self.streams.ping()
            elif verdict == "lost":
                self._lose("the host does not answer", broken=False)

    async def _warn_of_end(self) -> None:
        """Say that the place will end soon, unless that has changed since we heard of it."""
        with contextlib.suppress(errors.SshpykError, OSError):
            self._update(ends_at=await self.transport.look_at_end())
        text = self._ending.tell(time.time(), self.transport.ends_at)
        self._update(ending=text)
        if text:
            self.log.warning("! %s ends %s: save what you need", self.transport.host, text)

    def retry(self) -> None:
        self.transport.hurry()
        self._hurry.set()

    def _lose(self, why: str, *, broken: bool) -> None:
        if self._connectivity.state is State.UP:
            self.log.warning("! %s; reconnecting", why)
            self._heard.clear()
            self._connectivity.lost(broken=broken)
            self._show()
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        """Do step after step until the agent is there again, or known to be gone."""
        while (step := self._connectivity.step) is not None:
            try:
                outcome = await self._do(step)
            except Exception:
                # A defect of ours must not leave the kernel out of reach for good.
                self.log.exception("! the step %r of reconnecting failed", step.value)
                outcome = Outcome.DEFECT
            self._connectivity.done(outcome, self.streams.now())
            if self._connectivity.state is State.UP:
                self._now_connected()
            self._show()

    async def _do(self, step: Step) -> Outcome:
        """Do a step of reconnecting; how it came out."""
        steps: dict[Step, Callable[[], Awaitable[Outcome]]] = {
            Step.REACH: self._reach,
            Step.DIAL: self._dial,
            Step.PROBE: self._probe,
            Step.ASK: self._ask_host,
            Step.ANEW: self._begin_anew,
            Step.PAUSE: self._pause,
        }
        try:
            return await steps[step]()
        except errors.AllocationEnded as error:
            if step is not Step.REACH:  # which asks the scheduler why
                return Outcome.FAILED
            return self._agent_gone(error.why, self.exited)
        except (errors.SshpykError, OSError) as error:
            self._tell_trouble(error)
            return Outcome.FAILED

    async def _reach(self) -> Outcome:
        dead = self._connection if self._connectivity.host_is_silent else None
        heard = asyncio.ensure_future(self._heard.wait())
        try:
            attempt = self.transport.reconnect(dead)
            self._tell_next_try()
            await asyncio.wait((heard, attempt), return_when=asyncio.FIRST_COMPLETED)
            if heard.done() and self.streams.is_connected:
                return Outcome.HEARD  # it went silent, and did not break
            self._connection = await asyncio.shield(attempt)
            return Outcome.DONE
        finally:
            heard.cancel()

    async def _dial(self) -> Outcome:
        try:
            return Outcome.DONE if await self._connect() else Outcome.NOBODY
        except ProtocolError as error:
            self.log.warning("! the agent refused: %s; clients connect anew", error)
            return Outcome.REFUSED

    async def _ask_host(self) -> Outcome:
        return Outcome.DONE if await self.transport.answers() else Outcome.FAILED

    async def _pause(self) -> Outcome:
        left = self._connectivity.pause_left(self.streams.now())
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            await within(left, self._hurry.wait())
        return Outcome.DONE

    async def _begin_anew(self) -> Outcome:
        self.streams.begin_anew()
        self._requests.fail(errors.ForgottenByAgent(host=self.transport.host))
        self._ask_to_be_told()
        return Outcome.DONE

    def _tell_next_try(self) -> None:
        at = self.transport.next_try
        left = 0.0 if at is None else at - self.streams.now()
        self._update(next_try=time.time() + left if left > SOON else None)

    def _tell_trouble(self, error: Exception) -> None:
        """Say why there is no connection: once for each kind of trouble, not for each attempt."""
        if not isinstance(error, errors.SshpykError):
            error = errors.AgentSilent(host=self.transport.host, details=str(error))
        if type(error) is not type(self.status.trouble):
            self.log.warning("! not connected to %s: %s", self.transport.host, error)
        self._update(trouble=error)

    async def _probe(self) -> Outcome:
        """The host answers and our agent does not: find out what became of it.

        NOBODY where it is gone for certain, and the kernel with it. Where the host is another node
        of the same name, goes on to the agent's own; unknown is neither dead nor alive.
        """
        agent, transport = self.agent, self.transport
        place = agent.place if transport.is_container else ""
        request: ProbeRequest = {"do": "probe", "id": agent.id, "place": place}
        answer = await jobs.ask(transport, agent.python, request)
        ended = answer.get("ended")
        if answer.get("alive"):
            record = answer.get("record") or {}
            answers.require(transport.host, record, {"listening": answers.LISTENING}, "its record")
            agent.listening = record["listening"]
            transport.unreached()
        elif ended is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended["at"]))
            return self._agent_gone(f"{ended['why']}, at {when}", ended.get("exited"))
        elif place and (answer["host"], answer.get("place")) != (agent.node, place):
            return self._agent_gone("its container was restarted, or made anew", None)
        elif agent.node and answer["host"] != agent.node:
            self.log.warning("= this is %s; going on to %s", answer["host"], agent.node)
            self.transport = transport.node(agent.node)
            verbosity = transport.login_logs.pop(self.log.info, None)
            if verbosity is not None:
                self.transport.login_logs[self.log.info] = verbosity
            self._connection = await asyncio.shield(self.transport.reconnect(None))
        elif agent.boot_id and answer["boot_id"] != agent.boot_id:
            return self._agent_gone("the host was restarted", None)
        elif answer.get("record") is not None and answer.get("alive") is None:
            self.log.warning("= only another container of %s can tell", transport.host)
        else:
            return self._agent_gone("its agent is no longer there", None)
        return Outcome.DONE

    def _agent_gone(self, why: str, exited: Exit | None) -> Outcome:
        self.is_gone = True
        known = exited or {"pid": 0, "code": None, "signum": None, "stderr": "", "note": ""}
        note = "; ".join(text for text in (known["note"], why) if text)
        self._on_exited({**known, "note": note})
        self._requests.fail(errors.KernelGone(host=self.transport.host, why=note))
        return Outcome.NOBODY

    # -- talking with the agent ------------------------------------------------------------------

    def _say(self, type: str, **fields: Any) -> None:
        """Send the agent a control message; it arrives when the link is there."""
        self.log.debug("> %s", type)
        self.streams.say(type, **fields)

    async def watch_activity(self) -> None:
        await self._requests.ask("watch")

    def watch_memory(self) -> None:
        self._wants_memory = True
        if self._connectivity.state in (State.UP, State.LOST):
            self._ask_to_be_told()

    async def measure(self) -> dict[str, float]:
        begun = time.monotonic()
        answer = await self._requests.ask("state")
        return {"round_trip": time.monotonic() - begun, "waiting": answer.get("waiting", 0)}

    def seeing(self, seeing: bool, *, resumed: bool = False) -> None:
        self._say("seeing", number=0, seeing=seeing, resumed=resumed)

    def seen(self, message: str) -> None:
        self._say("seen", number=0, message=message)

    async def signal(self, signum: int) -> None:
        self._expects_exit = self._expects_exit or signum in (signals.SIGTERM, signals.SIGKILL)
        self._say("signal", number=0, signum=signum)

    async def hold(self, held: bool) -> None:
        self.streams.hold_control(held)

    async def resolve(self, path: str) -> str | None:
        if self.facts is None or self._connectivity.state is not State.UP:
            return None
        # Not by the agent, which would stand still with a file system that does.
        request: ResolveRequest = {"do": "resolve", "cwd": self.facts["cwd"], "path": path}
        try:
            answer = await jobs.ask(
                self.transport, self.agent.python, request, timeout=RESOLVE_WITHIN
            )
        except (errors.SshpykError, OSError) as error:
            self.log.debug("! %s can't be looked for: %s", path, error)
            return None
        found: str | None = answer["path"]
        return found

    def has_client(self, channel: str) -> bool:
        return self.streams.has(channel)

    def on_message(self, message: Message) -> None:
        """Called by the streams: the agent said something."""
        type = message["type"]
        self.log.debug("< %s", type)
        if type == "done":
            self._requests.answer(message["number"], message["result"])
        elif type == "failed":
            self._requests.answer(message["number"], self._refusal(message["error"]))
        elif type == "bound":
            self._is_bound = True
            self._changed.set()
        elif type == "exited":
            names = (name.rstrip("?") for name in answers.EXIT)
            self._on_exited({name: message.get(name) for name in names})  # type: ignore[arg-type]  # checked as it came
        elif type == "activity":
            self._update(busy=message["busy"], busy_since=message["since"])
        elif type == "memory":
            self._on_memory(message.get("short"))
        elif type == "url":
            self._open_printed(message["url"])
        elif type == "notice":
            self.log.warning("! %s", message["text"])

    def _on_memory(self, short: MemoryShort | None) -> None:
        if short is not None and self.status.memory_short is None:
            self.log.warning("! the memory is almost full: %s", exits.share(short))
        self._update(memory_short=short)

    def _on_exited(self, exited: Exit) -> None:
        how = errors.describe_exit(exited)
        if self._expects_exit or (exited["code"] == 0 and not exited["note"]):
            self.log.info("= the kernel exited: %s", how)
        else:
            # It may be restarted at once, with no other word about why.
            stderr = exited["stderr"].strip()[-1000:]
            last = f"; it said last:\n{stderr}" if stderr else ""
            self.log.warning("! the kernel died (%s)%s", how, last)
        self._is_bound = False
        self.ports.close_printed()
        self._update(exited=exited, busy=None, busy_since=None, memory_short=None)
        self._show()
        self._changed.set()

    async def exit_seen(self) -> None:
        while self.exited is None and self._connectivity.state is not State.CLOSED:
            self._changed.clear()
            await self._changed.wait()

    def _describe(self, kernel: dict[str, Any]) -> None:
        """Take what the agent says of its kernel. Raises `StrangeAgent`."""
        answers.kernel(self.transport.host, kernel)
        self.facts = kernel  # type: ignore[assignment]  # checked above
        if self.exited is not None and self.exited["pid"] != kernel["pid"]:
            # That was the process before; this one's exit may have come by now.
            self._update(exited=None)
            self._show()
        if kernel.get("exited") is not None:
            self._on_exited(kernel["exited"])
        elif kernel["bound"]:
            self._is_bound = True

    # -- ports -----------------------------------------------------------------------------------

    def open_port(
        self, target: Target, local: int | str | None = None, *, url: str = ""
    ) -> LocalPort:
        """Open a local port that leads to `target` on the host, as `Ports.open` does.

        Raises `OldAgent` where an agent of an older sshpyk can't do that.
        """
        if self.facts is None or not self.facts.get("ports"):
            raise errors.OldAgent(host=self.transport.host)
        return self.ports.open(target, local, url=url)

    def _ask_to_be_told(self) -> None:
        """Have the agent tell what it tells to those alone who have asked."""
        if self.facts is None:
            return
        if self.opens_printed and self.facts.get("ports"):
            self._say("urls", number=0)
        if self._wants_memory and self.facts.get("memory"):
            self._say("memory_wanted", number=0)

    def _open_printed(self, url: str) -> None:
        """The kernel has printed a URL of its host's loopback."""
        try:
            self.ports.open_printed(url)
        except OSError as error:
            self.log.warning("! %s of the host can't be opened here: %s", url, error)

    def _show_ports(self) -> None:
        self._update(ports=tuple(port.status for port in self.ports.open_ports))

    # -- the end ---------------------------------------------------------------------------------

    async def leave(self) -> None:
        await self._close("leave")

    async def end(self) -> None:
        await self._close("end")

    async def _close(self, wish: str) -> None:
        self._expects_exit = True
        io_thread().farewells.discard(self._farewell)
        state = self._connectivity.state
        if state in (State.NEW, State.CLOSED) or self.is_gone:
            await self._dismantle()
            return
        saying = self._spawn(self._say_and_go(wish))
        patience = END_WITHIN if state is State.UP else AWAY_WITHIN
        done, _ = await asyncio.wait([saying], timeout=patience)
        if not done:
            self.log.warning("! out of reach: the kernel is told to %s once it is back", wish)

    async def _say_and_go(self, wish: str) -> None:
        while not self.is_gone:
            try:
                await self._requests.ask(wish)
                break
            except errors.ForgottenByAgent:
                continue  # it hears of it from the attachment that is begun anew
            except errors.SshpykError as error:
                self.log.warning("! the agent was told to %s, and said: %s", wish, error)
                break
        await self._dismantle()

    async def _farewell(self) -> None:
        """This process ends."""
        await self._close("end" if self.ends_with_us else "leave")

    async def _dismantle(self) -> None:
        if self._connectivity.state is State.CLOSED:
            return
        self._connectivity.become(State.CLOSED)
        self._show()
        self._changed.set()
        io_thread().farewells.discard(self._farewell)
        self.ports.close_all()
        self.streams.close()
        self._requests.fail(errors.LinkClosed(host=self.transport.host))
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._drop_dialer()
        self.transport.login_logs.pop(self.log.info, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.log.error("! a task of the link failed", exc_info=task.exception())

    # -- errors ----------------------------------------------------------------------------------

    def _timeout(self, seconds: float) -> errors.SshpykError:
        if self.streams.violation is not None:
            what = str(self.streams.violation)
            return errors.StrangeAgent(host=self.transport.host, what=what)
        if self.status.trouble is not None:
            return self.status.trouble
        if self._job is not None:
            return self._job.timed_out(seconds)
        details = self.exited["stderr"] if self.exited is not None else ""  # it was ended by now
        return errors.LaunchTimeout(
            host=self.transport.host,
            seconds=seconds,
            stage=self._stages.last.value,
            command=self.transport.login.command,
            details=details,
        )

    def _refusal(self, answer: dict[str, Any]) -> errors.RemoteError:
        transport = self.transport
        return errors.from_agent(
            transport.host, answer, command=transport.login.command, python=self.agent.python
        )

    def _died(self, exited: Exit) -> errors.KernelDied:
        name = self.facts["name"] if self.facts is not None else "?"
        transport = self.transport
        return errors.kernel_died(transport.host, name, transport.login.command, exited)
