"""The session of a launch carries all streams until there are other carriers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.remotekernel import State
from sshpyk.wire.zmtp import GREETING
from tests.link.scripted import FACTS, local_sockets
from tests.link.test_link import REQUEST, Lab, lab, launching, run


async def start(it: Lab, **facts: object) -> None:
    it.transport.carries = it.agent
    it.transport.jobs = [launching(it.agent, kernel={**FACTS, **facts})]
    await it.link.start(REQUEST, local_sockets(it.directory), timeout=5.0)


async def echo(it: Lab, said: bytes) -> None:
    """A client's bytes go to the kernel, and come back."""
    reader, writer = await it.client()
    writer.write(GREETING + said)
    assert await reader.readexactly(len(GREETING) + len(said)) == GREETING + said
    writer.close()


@pytest.mark.parametrize("bound", [True, False])
def test_the_session_of_a_launch_carries_and_then_ends(short_tmp: Path, bound: bool) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            if not bound:
                it.agent.says_first = [("bound", {"pid": 100})]
            await start(it, bound=bound)
            assert it.link.status.state is State.CONNECTED
            # By then nobody has waited for any other carrier.
            (session,) = it.transport.sessions
            assert session.carried.is_there
            await echo(it, b"at once")
            await it.agent.was_told("attached")
            await it.agent.has_connections(6)
            assert not it.transport.sessions[0].carried.is_there
            await echo(it, b"later")
            assert State.AWAY not in it.states

    run(work())


@pytest.mark.parametrize("defect", [None, OSError("no"), errors.Unreachable(host="scripted")])
def test_a_session_that_nothing_follows_ends(short_tmp: Path, defect: Exception | None) -> None:
    """And the link connects anew, in the usual way."""

    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.defects = [defect]
            await start(it)
            await it.until(lambda status: status.state is State.AWAY)
            await it.until(lambda status: status.state is State.CONNECTED)
            await it.agent.has_connections(6)
            assert not it.transport.sessions[0].carried.is_there
            assert it.transport.forgotten == (defect is None)
            await echo(it, b"later")

    run(work())


def test_a_session_that_breaks_is_an_outage(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            await start(it)
            it.transport.sessions[0].cut()
            await it.agent.has_connections(6)
            await echo(it, b"later")
            assert it.link.status.state is State.CONNECTED
            assert sum(not dialer.is_closed for dialer in it.transport.dialers) == 1

    run(work())


def test_an_agent_that_does_not_welcome_is_none(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.agent.welcomes = False
            with pytest.raises(errors.StrangeAgent):
                await start(it)
            assert it.link.status.state is State.CLOSED
            assert not it.transport.sessions[0].carried.is_there
            assert it.transport.forgotten == 1  # the next start waits for its forwards

    run(work())
