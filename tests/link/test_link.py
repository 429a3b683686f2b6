"""A link between scripted peers: what its users are told, and how it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.link.link import Link
from sshpyk.link.log import KernelLog
from sshpyk.remotekernel import Stage, State, Status
from sshpyk.wire.zmtp import GREETING
from tests.link.scripted import (
    EXIT,
    FACTS,
    MACHINE,
    ScriptedAgent,
    ScriptedTransport,
    address_of,
    local_sockets,
)

PATIENCE = 30.0

REQUEST: Any = {"do": "launch", "persistent": False, "lease": 60.0, "kernel": {}}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, PATIENCE))


class Lab:
    """A link, its transport and its agent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.agent = ScriptedAgent(directory)
        self.transport = ScriptedTransport()
        log = KernelLog(logging.getLogger("test"), "kernel", "scripted")
        self.link = Link(self.transport, address_of(self.agent), log)
        self.seen: list[Status] = []
        self._changed = asyncio.Event()
        self.link.subscribe(self._note)

    def _note(self, status: Status) -> None:
        self.seen.append(status)
        self._changed.set()

    async def until(self, condition: Callable[[Status], object]) -> Status:
        """Wait for a status; it."""
        while not condition(self.link.status):
            self._changed.clear()
            await self._changed.wait()
        return self.link.status

    async def attach(self) -> None:
        await self.link.attach(local_sockets(self.directory), timeout=5.0)
        await self.agent.has_connections(6)

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A Jupyter client on the shell channel."""
        return await asyncio.open_unix_connection(str(self.directory / "local-shell"))

    @property
    def states(self) -> list[State]:
        states = [status.state for status in self.seen]
        return [s for n, s in enumerate(states) if n == 0 or s is not states[n - 1]]


@contextlib.asynccontextmanager
async def lab(directory: Path) -> AsyncIterator[Lab]:
    it = Lab(directory)
    await it.agent.listen()
    try:
        yield it
    finally:
        await it.link.leave()
        it.agent.close()
        await it.agent.has_connections(0)


def test_an_attached_link_tells_all_who_have_subscribed(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            others: list[Status] = []
            forget = it.link.subscribe(others.append)
            await it.attach()
            assert it.states == [State.STARTING, State.CONNECTED]
            assert [s.stage for s in it.seen if s.stage] == [Stage.LOGIN, Stage.AGENT]
            assert it.link.status.stage is None
            assert it.link.facts == FACTS
            assert others == it.seen
            forget()
            await it.link.leave()
            assert it.states[-1] is State.CLOSED
            assert others[-1].state is State.CONNECTED
            assert await it.agent.was_told("leave")
            assert all(dialer.is_closed for dialer in it.transport.dialers)

    run(work())


def test_a_cut_is_a_pause(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            reader, writer = await it.client()
            writer.write(b"before")
            assert await reader.readexactly(6) == b"before"
            it.transport.troubles = [errors.Unreachable(host="scripted")] * 2
            it.agent.cut()
            writer.write(b"meanwhile")
            assert await reader.readexactly(9) == b"meanwhile"
            assert it.states == [State.STARTING, State.CONNECTED, State.AWAY, State.CONNECTED]
            troubles = [s.trouble.code for s in it.seen if s.trouble is not None]
            assert troubles[0] == "unreachable"
            assert it.link.status.trouble is None
            writer.close()

    run(work())


def test_where_a_person_is_needed_it_says_so_and_goes_on_after(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            fields = {"host": "scripted", "connect": "scripted", "copy": "scripted"}
            it.transport.troubles = [errors.AuthenticationFailed(**fields)]
            it.transport.pause = 600.0
            it.agent.cut()
            status = await it.until(lambda status: status.next_try is not None)
            told = status.to_json()
            assert told["state"] == "away"
            assert told["needs_person"] is True
            assert told["trouble"]["code"] == "authentication-failed"
            it.link.retry()  # as when somebody has logged in
            await it.until(lambda status: status.state is State.CONNECTED)

    run(work())


@pytest.mark.parametrize("error", [RuntimeError("a defect"), KeyError("x"), OSError("no")], ids=str)
def test_no_exception_ends_reconnecting(short_tmp: Path, error: Exception) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.transport.defects = [error, error]
            it.agent.cut()
            await it.until(lambda status: status.state is State.AWAY)
            await it.until(lambda status: status.state is State.CONNECTED)

    run(work())


def test_a_client_that_was_forgotten_begins_anew(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.agent.answers_requests = False
            asked = asyncio.ensure_future(it.link.watch_activity())
            await it.agent.was_told("watch")
            it.agent.answers_requests = True
            it.agent.forget()
            with pytest.raises(errors.ForgottenByAgent):
                await asked  # and not CancelledError
            await it.until(lambda status: status.state is State.CONNECTED)
            reader, writer = await it.client()
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"
            writer.close()

    run(work())


def test_a_wish_to_end_outlives_being_forgotten(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.agent.answers_requests = False
            ending = asyncio.ensure_future(it.link.end())
            await it.agent.was_told("end")
            it.agent.requests.clear()
            it.agent.answers_requests = True
            it.agent.forget()
            await it.agent.was_told("end")
            await ending
            assert it.link.status.state is State.CLOSED

    run(work())


GONE: list[tuple[dict[str, Any], str]] = [
    ({**MACHINE, "alive": False}, "its agent is no longer there"),
    ({**MACHINE, "boot_id": "boot2", "alive": False}, "the host was restarted"),
    (
        {**MACHINE, "alive": False, "ended": {"id": "a", "at": 1e9, "why": "bye", "exited": EXIT}},
        "bye, at ",
    ),
]


@pytest.mark.parametrize(("answer", "why"), GONE, ids=lambda part: str(part)[:30])
def test_a_kernel_is_dead_only_when_that_is_certain(
    short_tmp: Path, answer: dict[str, Any], why: str
) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.agent.close()
            it.transport.jobs = [[answer]]
            await it.link.exit_seen()
            status = await it.until(lambda status: status.state is State.EXITED)
            assert status.exited is not None
            assert why in status.exited["note"]
            assert it.link.is_gone

    run(work())


def test_who_leaves_while_away_is_done_once_the_kernel_is_known_to_be_gone(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.transport.troubles = [errors.Unreachable(host="scripted")]
            it.transport.pause = 3600.0
            it.agent.close()
            await it.until(lambda status: status.trouble is not None)
            await it.link.leave()  # the agent is told so once it is back
            it.transport.jobs = [[{**MACHINE, "boot_id": "another", "alive": False}]]
            it.link.retry()
            await it.until(lambda status: status.state is State.CLOSED)

    run(work())


def test_an_agent_that_listens_elsewhere_is_found(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            it.agent.close()
            (short_tmp / "new").mkdir()
            it.agent.directory = short_tmp / "new"
            await it.agent.listen()
            record = {"listening": it.agent.listening}
            it.transport.jobs = [[{**MACHINE, "alive": True, "record": record}]]
            await it.until(lambda status: status.state is State.AWAY)
            await it.until(lambda status: status.state is State.CONNECTED)

    run(work())


def test_another_node_of_the_name_leads_to_the_very_node(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            node = it.transport.nodes["node1"] = ScriptedTransport("node1")
            others = logging.getLogger("another kernel").info
            it.transport.login_logs.update({it.link.log.info: "v", others: "vv"})
            it.transport.jobs = [[{**MACHINE, "host": "node2", "alive": False}]]
            listening = it.link.agent.listening
            it.link.agent.listening = dict.fromkeys(listening, str(short_tmp / "nobody"))
            it.agent.cut()
            await it.until(lambda status: status.state is State.AWAY)
            await node.attempted.wait()
            it.link.agent.listening = listening
            await it.until(lambda status: status.state is State.CONNECTED)
            assert node.dialers
            # What ssh says at logins to the node is this kernel's, and no other's.
            assert node.login_logs == {it.link.log.info: "v"}
            assert it.transport.login_logs == {others: "vv"}

    run(work())


def launching(agent: ScriptedAgent, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            **MACHINE,
            "listening": agent.listening,
            "bytecode": "",
            "kernel": {**FACTS, "bound": False},
            **changes,
        }
    ]


def test_a_start_goes_through_its_stages(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.jobs = [launching(it.agent)]
            sockets = local_sockets(short_tmp)
            starting = asyncio.ensure_future(it.link.start(REQUEST, sockets, timeout=5.0))
            await it.until(lambda status: status.stage is Stage.SOCKETS)
            assert it.link.status.state is State.STARTING
            it.agent.push("bound", pid=100)
            await starting
            assert it.states == [State.STARTING, State.CONNECTED]
            stages = [s.stage for s in it.seen if s.stage is not None]
            assert list(dict.fromkeys(stages)) == [
                Stage.LOGIN,
                Stage.LAUNCH,
                Stage.AGENT,
                Stage.SOCKETS,
            ]
            await it.agent.was_told("settings")

    run(work())


@pytest.mark.parametrize("curve", [False, True])
def test_a_kernel_is_greeted_before_its_client(short_tmp: Path, curve: bool) -> None:
    """A client's own greeting then goes no further, and one that can't be joined to it is sent to
    a stream of its own. Not with CURVE, where clients greet each in their way."""

    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.jobs = [launching(it.agent, kernel={**FACTS, "curve": curve})]
            await it.link.start(REQUEST, local_sockets(short_tmp), timeout=5.0)
            reader, writer = await it.client()
            writer.write(GREETING + b"hello")
            # What comes to this kernel comes back.
            assert await reader.readexactly(69) == GREETING + b"hello"
            writer.close()
            path = str(short_tmp / "local-control")
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"other")
            if not curve:
                assert await reader.read(1000) in (b"", GREETING)
                assert await reader.read(1000) == b""
                writer.close()
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"other")
            assert await reader.readexactly(5) == b"other"
            writer.close()

    run(work())


def test_a_kernel_that_dies_while_it_starts(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.jobs = [launching(it.agent)]
            sockets = local_sockets(short_tmp)
            starting = asyncio.ensure_future(it.link.start(REQUEST, sockets, timeout=5.0))
            await it.until(lambda status: status.stage is Stage.SOCKETS)
            it.agent.push("exited", **EXIT)
            with pytest.raises(errors.KernelDied, match="oops"):
                await starting
            await it.agent.was_told("end")
            assert it.link.status.state is State.CLOSED
            assert all(dialer.is_closed for dialer in it.transport.dialers)

    run(work())


STUCK: dict[Stage, dict[str, Any]] = {
    Stage.LOGIN: {"hangs": True},
    Stage.SOCKETS: {},
}


@pytest.mark.parametrize("stage", STUCK, ids=lambda stage: stage.name)
def test_a_start_that_takes_too_long_says_at_what(short_tmp: Path, stage: Stage) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.jobs = [launching(it.agent)]
            for name, value in STUCK[stage].items():
                setattr(it.transport, name, value)
            with pytest.raises(errors.LaunchTimeout) as caught:
                await it.link.start(REQUEST, local_sockets(short_tmp), timeout=0.5)
            assert stage.value in caught.value.what
            assert caught.value.command.startswith("enter scripted")
            assert it.link.status.state is State.CLOSED

    run(work())


def test_what_the_agent_says_of_activity_is_in_the_status(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await it.attach()
            await it.link.watch_activity()
            it.agent.push("activity", busy=True, since=1e9)
            status = await it.until(lambda status: status.busy)
            assert status.to_json()["busy_since"] == 1e9
            it.agent.push("exited", **EXIT)
            status = await it.until(lambda status: status.exited)
            assert status.state is State.EXITED
            assert status.busy is None
            assert status.to_json()["exited_text"] == "exit status 1"

    run(work())
