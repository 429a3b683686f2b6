"""A link: everything between one provisioner and one agent.

It launches the agent or attaches to one, keeps the streams carried, and when the connection
breaks it reconnects for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import signal as signals
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .. import errors
from ..ssh.master import Identity
from ..transport import forwards, jobs, package
from ..transport.openssh import LOGIN, Host
from ..wire import control
from ..wire.frames import ProtocolError
from ..wire.liveness import PING_AFTER, Backoff, Liveness
from . import answers
from .address import AgentAddress
from .log import KernelLog
from .streams import Streams
from .thread import io_thread

if TYPE_CHECKING:
    from ..wire.control import Message

#: The share of a start's time that the login may take: less than all, so that who gives up is ssh,
#: which can say why.
LOGIN_SHARE = 0.9

#: Seconds for the agent's welcome through fresh forwards.
WELCOME_WITHIN = 5.0

#: Seconds for which a ping was not answered, so that output may have piled up.
STALL = 1.0

#: Seconds between looks whether the clock has jumped: a laptop woke up, or we were stopped.
WATCH = 1.0

#: Seconds that the agent has to end its kernel and say so, and those when it is out of reach.
END_WITHIN = 8.0
AWAY_WITHIN = 1.0


class State(enum.Enum):
    """A link's states; `NEXT` says which may follow."""

    NEW = "new"
    CONNECTING = "connecting"
    UP = "connected"
    LOST = "lost"
    CLOSED = "closed"


NEXT: dict[State, tuple[State, ...]] = {
    State.NEW: (State.CONNECTING, State.CLOSED),
    State.CONNECTING: (State.UP, State.LOST, State.CLOSED),
    State.UP: (State.LOST, State.CLOSED),
    State.LOST: (State.CONNECTING, State.CLOSED),
    State.CLOSED: (),
}


class Link:
    """The client's end of everything. All methods belong to the I/O thread.

    `exited` is None while the kernel runs or is out of sight, else how it ended; any thread may
    read it. `kernel` is what the agent says of the kernel.
    """

    def __init__(self, host: Host, agent: AgentAddress, log: KernelLog) -> None:
        self.host = host
        self.agent = agent
        self.log = log
        self.state = State.NEW
        self.kernel: dict[str, Any] = {}
        self.found_keys: dict[str, str] | None = None  # of a session's kernel that was there
        self.exited: dict[str, Any] | None = None
        self._expects_exit = False  # whether we have asked for it
        self.agent_is_gone = False
        self.trouble: Exception | None = None  # why it is not connected, as far as known
        self.lost_at: float | None = None  # time.time() of the loss, for people
        self.ends_kernel = True  # what the end of this process means for the kernel
        self.activity: dict[str, Any] | None = None  # what the agent last said of busy and idle
        self.on_state: Callable[[State], None] = lambda state: None
        self.streams = Streams(self, log, agent.token)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._liveness = Liveness(self.streams.now())
        self._backoff = Backoff()
        self._forwards = forwards.Forwards()
        self._master: Identity | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self._heard = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_bound = False
        self._stage = ""
        self._session: jobs.Session | None = None  # while it owes its first answer

    def _become(self, state: State) -> None:
        if state not in NEXT[self.state]:
            raise RuntimeError(f"a link can't go from {self.state} to {state}")
        self.log.info("= %s", state.value)
        self.state = state
        self.on_state(state)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.log.error("! a task of the link failed", exc_info=task.exception())

    # -- launching and attaching -----------------------------------------------------------------

    async def launch(
        self, request: dict[str, Any], sockets: dict[str, socket.socket], *, timeout: float
    ) -> None:
        """Launch an agent with its kernel, and wait until the kernel's sockets are there.

        Where the request names a session whose kernel is there, attach to that; `found_keys` then
        has its keys.

        `sockets`, bound, one a channel, are served from now on. `timeout` in seconds for all of
        it. Raises one of `errors`; whatever was begun on either side is taken back then, and when
        the caller is cancelled.
        """

        async def work() -> None:
            await self.streams.listen(sockets)
            self._master = await self.host.master.ensure(timeout=LOGIN_SHARE * timeout)
            self._stage = "starting the kernel there"
            async with self.host.sessions:
                await self._launch(dict(request, launch_timeout=timeout))
            if self.found_keys is not None:
                await self._attach(timeout)
                if self.exited is not None:
                    self._is_bound = False
                    answer = await self.request("start", kernel={})
                    self._describe_kernel(answer)
            await self._wait_bound()
            if self.found_keys is None:
                self._confirm(request)

        await self._begin(work(), timeout)

    def _confirm(self, request: dict[str, Any]) -> None:
        """Tell the agent that the launch is over and its client there: else it would end.

        Nobody waits for it: were it lost with the connection, so would be all that comes behind
        it, and a kernel that ends then has not done anything.
        """
        terms = {name: request[name] for name in ("persistent", "lease")}
        self.streams.say(control.encode("settings", number=0, **terms))

    async def attach(self, sockets: dict[str, socket.socket], *, timeout: float) -> None:
        """Attach to an agent that runs already; the rest as for `launch`.

        Raises `KernelGone` where it does not run any more.
        """

        async def work() -> None:
            await self.streams.listen(sockets)
            await self._attach(timeout)

        await self._begin(work(), timeout)

    async def _attach(self, timeout: float) -> None:
        self.ends_kernel = False
        while True:
            # Each time: it may have been about to die when it was looked at.
            self._master = await self.host.master.ensure(timeout=LOGIN_SHARE * timeout)
            if await self._connect():
                break
            await self._probe()
            if self.exited is not None:
                host = self.host.destination.host
                raise errors.KernelGone(host=host, why=errors.describe_exit(self.exited))
            await asyncio.sleep(self._backoff.pause())
        self._describe_kernel(await self.request("state"))

    async def _begin(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        self._become(State.CONNECTING)
        self._stage = "connecting"
        try:
            await asyncio.wait_for(work, timeout)
        except (TimeoutError, asyncio.TimeoutError):
            await self._give_up()
            raise self._timeout(timeout) from None
        except ProtocolError as error:
            await asyncio.shield(asyncio.ensure_future(self._give_up()))
            host = self.host.destination.host
            raise errors.StrangeAgent(host=host, what=str(error)) from None
        except BaseException:
            # Shielded: a second cancellation must not leave half of it behind.
            await asyncio.shield(asyncio.ensure_future(self._give_up()))
            raise

    async def _launch(self, request: dict[str, Any]) -> None:
        agent, family = self.agent, self.host.family
        request = dict(request, id=agent.id, token=agent.token, streams=family)
        pythonhome = request["kernel"]["launcher_pythonhome"]
        master = self.host.master
        compiled = self.host.reads_bytecode.get(agent.python, False)
        async with jobs.Session(
            master, agent.python, request, pythonhome, compiled=compiled
        ) as session:
            self._session = session
            answer = await session.answer()
            self._session = None
            if "existing" in answer:
                record, self.found_keys = answers.existing(self.host.destination.host, answer)
                self.agent = AgentAddress.of_record(record, agent.python)
                self.streams.use_token(self.agent.token)
                return
            name = self.host.destination.host
            agent.listening = answers.listening(name, answers.launched(name, answer)["listening"])
            reads = answer["bytecode"]
            self.host.reads_bytecode[agent.python] = reads == package.BYTECODE != ""
            agent.node, agent.boot_id = answer["host"], answer["boot_id"]
            self.kernel = answer["kernel"]
            self._stage = "connecting to its agent there"
            # Until "attached" is said the agent ends with this session, whatever happens here.
            if not await self._connect():
                if family == "unix":
                    # The server forwards no unix sockets (AllowStreamLocalForwarding no, or no
                    # OpenSSH); loopback TCP does as well, with the token at the door.
                    session.say("tcp")
                    answer = await session.answer()
                    agent.listening = answers.listening(name, answer.get("listening"))
                if family == "tcp" or not await self._connect():
                    self.host.family = "unix"
                    if master.identity() is None:
                        raise errors.ConnectionLost(host=self.host.destination.host, details="")
                    raise errors.NoForwarding(
                        host=self.host.destination.host,
                        command=self.host.destination.for_people(),
                    )
                self.host.family = "tcp"
            session.say("attached")
            await session.answer()
            self._stage = "waiting for the kernel to open its sockets"

    async def _wait_bound(self) -> None:
        """Wait until the kernel's sockets are there. Raises `KernelDied` where it dies before."""
        while not self._is_bound:
            if self.exited is not None:
                raise self._died()
            self._changed.clear()
            await self._changed.wait()

    async def start_again(self, kernel: dict[str, Any], *, timeout: float) -> None:
        """Start the kernel again, in place; `timeout` in seconds until its sockets are there.

        `kernel` says how, as in a launch request; empty: as it was launched.
        """

        async def work() -> None:
            self._is_bound = False
            self._expects_exit = True
            answer = await self.request("start", kernel=kernel)
            self._expects_exit = False
            self._describe_kernel(answer)
            await self._wait_bound()

        self._stage = "starting the kernel again"
        try:
            await asyncio.wait_for(work(), timeout)
        except (TimeoutError, asyncio.TimeoutError):
            raise self._timeout(timeout) from None

    async def _give_up(self) -> None:
        """Take back a launch or an attachment that failed or was cancelled."""
        if self.state is State.UP:
            wish = self.request("end" if self.ends_kernel else "leave")
            with contextlib.suppress(errors.RemoteError, TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(wish, END_WITHIN)
        await self._dismantle()

    # -- forwards --------------------------------------------------------------------------------

    async def _connect(self) -> bool:
        """Forwards, a control carrier, its welcome: then the link is up.

        False where the forwards lead to no agent. Raises `ProtocolError` where it refuses us,
        TimeoutError where nothing is heard.
        """
        await self._drop_forwards()
        if not await self._forwards.make(self.host.master, self.agent.listening):
            return False
        if not await self.streams.connect(self._forwards.directory, WELCOME_WITHIN):
            return False
        self._backoff.reset()
        self._now_up()
        if self._farewell not in io_thread().farewells:
            io_thread().farewells.add(self._farewell)
            self._spawn(self._watch())
            self._spawn(forwards.sweep())
        return True

    def _now_up(self) -> None:
        self._liveness.heard(self.streams.now())
        self.streams.pace()
        self.trouble = None
        self.lost_at = None
        self._become(State.UP)

    async def _drop_forwards(self) -> None:
        self.streams.cut()
        await self._forwards.drop()

    # -- staying connected -----------------------------------------------------------------------

    def on_heard(self) -> None:
        """Called by the streams: something came from the host."""
        self.host.heard_at = now = self.streams.now()
        if self._liveness.waited(now) > STALL:
            self.streams.pace()
        self._liveness.heard(now)
        self._heard.set()

    def on_broken(self) -> None:
        """Called by the streams: the control carrier has ended."""
        self.streams.cut()
        self._lose("the connection broke", master_is_dead=False)

    async def _watch(self) -> None:
        """Ping, and notice when the clock jumps."""
        before = boot_time()
        while True:
            await asyncio.sleep(WATCH)
            now = self.streams.now()
            if boot_time() - before > 3 * WATCH:
                self.log.info("= the clock jumped: looking at once")
                self._liveness.hurry(now)
                self.host.hurry()
                self._hurry.set()
            before = boot_time()
            verdict = self._liveness.tick(now) if self.state is State.UP else None
            if verdict == "ping":
                self.streams.ping()
            elif verdict == "lost":
                # Where other kernels on the host are heard of, it is not the host that is silent.
                is_silent = now - self.host.heard_at > PING_AFTER
                self._lose("the host does not answer", master_is_dead=is_silent)

    def _lose(self, why: str, *, master_is_dead: bool) -> None:
        if self.state is State.UP:
            self.log.warning("! %s; reconnecting", why)
            self.lost_at = time.time()
            self._heard.clear()
            self._become(State.LOST)
            self._spawn(self._reconnect(master_is_dead))

    async def _reconnect(self, master_is_dead: bool) -> None:
        """Try until it works, the kernel is known to be dead, or the link closes."""
        while True:
            self._become(State.CONNECTING)
            try:
                if await self._comes_back(self._master if master_is_dead else None):
                    return
                if await self._connect():
                    return
                await self._probe()
                if self.agent_is_gone:
                    self._become(State.LOST)
                    return
                master_is_dead = False
            except ProtocolError as error:
                self.log.warning("! the agent refused: %s; clients connect anew", error)
                self._begin_anew()
            except (errors.SshpykError, OSError, asyncio.TimeoutError) as error:
                self._tell_trouble(error)
                master_is_dead = not await self.host.answers()
            self._become(State.LOST)
            self._hurry.clear()
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._backoff.pause())

    async def _comes_back(self, dead: Identity | None) -> bool:
        """Wait for a master, another than the `dead` one, or for the old connection to be heard
        of again, where it went silent and did not break; whether it was that."""
        heard = asyncio.ensure_future(self._heard.wait())
        try:
            while True:
                attempt = self.host.reconnect(dead)
                await asyncio.wait((heard, attempt), return_when=asyncio.FIRST_COMPLETED)
                if heard.done() and self.streams.is_connected:
                    self._now_up()
                    return True
                try:
                    self._master = await asyncio.shield(attempt)
                    return False
                except (errors.SshpykError, OSError) as error:
                    self._tell_trouble(error)
        finally:
            heard.cancel()

    def _tell_trouble(self, error: Exception) -> None:
        """Say why there is no connection: once for each kind of trouble, not for each attempt."""
        if type(error) is not type(self.trouble):
            reason = str(error) or "the kernel's agent there does not answer"
            self.log.warning("! not connected to %s: %s", self.host.destination.host, reason)
        self.trouble = error

    def _begin_anew(self) -> None:
        self.streams.begin_anew()
        for future in self._answers.values():
            future.cancel()

    async def _probe(self) -> None:
        """The host answers and our agent does not: find out what became of it.

        Sets `exited` where the kernel is dead for certain. Where the host is another node of the
        same name, goes on to the agent's own; unknown is neither dead nor alive.
        """
        answer = await self.host.ask(self.agent.python, {"do": "probe", "id": self.agent.id})
        agent = self.agent
        name = self.host.destination.host
        answers.probed(name, answer)
        if answer["alive"]:
            agent.listening = answers.listening(name, answer["record"]["listening"])
        elif answer["ended"] is not None:
            ended = answer["ended"]
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended["at"]))
            self._agent_gone(f"{ended['why']}, at {when}", ended["exited"])
        elif agent.node and answer["host"] != agent.node:
            self.log.warning("= this is %s; going on to %s", answer["host"], agent.node)
            self.host = self.host.node(agent.node)
            self._master = await self.host.master.ensure(timeout=LOGIN)
        elif agent.boot_id and answer["boot_id"] != agent.boot_id:
            self._agent_gone("the host was restarted", None)
        else:
            self._agent_gone("its agent is no longer there", None)

    def _agent_gone(self, why: str, exited: dict[str, Any] | None) -> None:
        self.agent_is_gone = True
        exited = exited or {"pid": 0, "code": None, "signum": None, "stderr": "", "note": ""}
        note = "; ".join(text for text in (exited["note"], why) if text)
        self._on_exited({**exited, "note": note})

    # -- talking with the agent ------------------------------------------------------------------

    async def request(self, type: str, **fields: Any) -> dict[str, Any]:
        """Ask the agent; waits as long as the link is away. Raises `RemoteError` if it says no."""
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        self.log.debug("> %s", type)
        self.streams.say(control.encode(type, number=number, **fields))
        try:
            return await future
        finally:
            del self._answers[number]

    async def watch_activity(self) -> None:
        """Have `activity` kept, and `on_state` called when it changes."""
        await self.request("watch")

    async def signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group. Where the link is away, once it is back."""
        self.log.debug("> signal %d", signum)
        self._expects_exit = self._expects_exit or signum in (signals.SIGTERM, signals.SIGKILL)
        self.streams.say(control.encode("signal", number=0, signum=signum))

    def on_message(self, message: Message) -> None:
        """Called by the streams: the agent said something."""
        type = message["type"]
        self.log.debug("< %s", type)
        if type in ("done", "failed"):
            future = self._answers.get(message["number"])
            if future is not None and not future.done():
                if type == "done":
                    future.set_result(message["result"])
                else:
                    future.set_exception(self._refusal(message["error"]))
        elif type == "bound":
            self._is_bound = True
            self._changed.set()
        elif type == "exited":
            self._on_exited(message)
        elif type == "activity":
            self.activity = {"busy": message["busy"], "since": message["since"]}
            self.on_state(self.state)
        elif type == "notice":
            self.log.warning("! %s", message["text"])

    def _on_exited(self, exited: dict[str, Any]) -> None:
        how = errors.describe_exit(exited)
        if self._expects_exit or (exited.get("code") == 0 and not exited.get("note")):
            self.log.info("= the kernel exited: %s", how)
        else:
            # It may be restarted at once, with no other word about why.
            said = str(exited.get("stderr", "")).strip()[-1000:]
            self.log.warning("! the kernel died (%s)%s", how, said and f"; it said last:\n{said}")
        self.exited = exited
        self._is_bound = False
        self._changed.set()
        self.on_state(self.state)

    async def exit_seen(self) -> None:
        """Wait until the kernel has exited."""
        while self.exited is None and self.state is not State.CLOSED:
            self._changed.clear()
            await self._changed.wait()

    def _describe_kernel(self, kernel: dict[str, Any]) -> None:
        self.kernel = answers.kernel(self.host.destination.host, kernel)
        if self.exited is not None and self.exited["pid"] != kernel["pid"]:
            self.exited = None  # of the process before; this one's may have come by now
        if kernel["exited"] is not None:
            self._on_exited(kernel["exited"])
        elif kernel["bound"]:
            self._is_bound = True

    # -- the end ---------------------------------------------------------------------------------

    async def leave(self) -> None:
        """End this side; the kernel goes on."""
        await self._close("leave")

    async def end(self) -> None:
        """End the kernel, its agent and this side.

        Where the host is out of reach the wish stays for as long as this process does; after that
        the lease ends the kernel.
        """
        await self._close("end")

    async def _close(self, wish: str) -> None:
        self._expects_exit = True
        io_thread().farewells.discard(self._farewell)
        if self.state in (State.NEW, State.CLOSED) or self.agent_is_gone:
            await self._dismantle()
            return
        saying = self._spawn(self._say_and_go(wish))
        patience = END_WITHIN if self.state is State.UP else AWAY_WITHIN
        done, _ = await asyncio.wait([saying], timeout=patience)
        if not done:
            self.log.warning("! out of reach: the kernel is told to %s once it is back", wish)

    async def _say_and_go(self, wish: str) -> None:
        # Cancelled when this attachment is no more, or this process ends.
        with contextlib.suppress(asyncio.CancelledError):
            await self.request(wish)
        await self._dismantle()

    async def _farewell(self) -> None:
        """This process ends."""
        await self._close("end" if self.ends_kernel else "leave")

    async def _dismantle(self) -> None:
        if self.state is State.CLOSED:
            return
        self._become(State.CLOSED)
        self._changed.set()
        io_thread().farewells.discard(self._farewell)
        self.streams.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._drop_forwards()

    # -- errors ----------------------------------------------------------------------------------

    def _timeout(self, seconds: float) -> errors.SshpykError:
        if self.streams.lie is not None:
            host = self.host.destination.host
            return errors.StrangeAgent(host=host, what=str(self.streams.lie))
        if self.trouble is not None and isinstance(self.trouble, errors.SshpykError):
            return self.trouble
        said = self.exited["stderr"] if self.exited is not None else ""  # it was ended by now
        if self._session is not None:
            return self._session.timed_out(seconds)
        return errors.LaunchTimeout(
            host=self.host.destination.host,
            seconds=seconds,
            stage=self._stage,
            command=self.host.destination.for_people(),
            details=said,
        )

    def _refusal(self, answer: dict[str, Any]) -> errors.RemoteError:
        destination = self.host.destination
        return errors.from_agent(
            destination.host, answer, command=destination.for_people(), python=self.agent.python
        )

    def _died(self) -> errors.KernelDied:
        assert self.exited is not None
        destination = self.host.destination
        name = str(self.kernel.get("name"))
        return errors.kernel_died(destination.host, name, destination.for_people(), self.exited)


def boot_time() -> float:
    """Seconds since the machine started, its sleep included where the system tells."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
