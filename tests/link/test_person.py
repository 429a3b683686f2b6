"""A start on a host that only a person can log in to, with a scripted transport."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.remotekernel import Stage, State
from tests.link.scripted import local_sockets
from tests.link.test_link import REQUEST, lab, launching, run


def refused(kind: type[errors.NeedsPerson] = errors.AuthenticationFailed) -> errors.NeedsPerson:
    return kind(host="scripted", connect="scripted", copy="scripted", ask="ssh scripted")


def test_a_start_waits_for_a_person_and_goes_on(short_tmp: Path) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.jobs = [launching(it.agent)]
            it.transport.troubles = [refused()]
            it.transport.pause = 3600.0  # until somebody has logged in
            it.link.person_timeout = 3600.0
            sockets = local_sockets(short_tmp)
            starting = asyncio.ensure_future(it.link.start(REQUEST, sockets, timeout=5.0))
            status = await it.until(lambda status: status.stage is Stage.PERSON)
            assert status.to_json()["needs_person"]
            it.transport.delay = 0.0
            it.transport.hurry()
            await it.until(lambda status: status.stage is Stage.SOCKETS)
            it.agent.push("bound", pid=100)
            await starting
            assert it.link.status.trouble is None
            assert it.link.status.state is State.CONNECTED

    run(work())


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (errors.AuthenticationFailed, 0.0),  # nobody is there who would see it
        (errors.AuthenticationFailed, 0.2),  # nobody came
        (errors.HostKeyChanged, 3600.0),  # nothing that one may do in passing
    ],
)
def test_a_start_that_no_person_helps_says_so(
    short_tmp: Path, kind: type[errors.NeedsPerson], seconds: float
) -> None:
    async def work() -> None:
        async with lab(short_tmp) as it:
            it.transport.troubles = [refused(kind)]
            it.transport.pause = 3600.0
            it.link.person_timeout = seconds
            with pytest.raises(kind):
                await it.link.start(REQUEST, local_sockets(short_tmp), timeout=5.0)
            assert it.link.status.state is State.CLOSED

    run(work())
