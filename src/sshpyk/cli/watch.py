"""Watching what runs on hosts: a table that changes, by one job on each that stays."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .. import errors
from ..aio import within
from . import described, kernels
from .kernels import Survey
from .place import ANSWER, CONNECT, Place
from .rows import machines
from .terminal import Terminal

#: Seconds between two looks at a host, and before one that was lost is tried again.
EVERY = 2.0
PAUSE = 5.0

Rows = list[dict[str, Any]]


def run(
    where: Sequence[Place],
    terminal: Terminal,
    describe: Callable[[Sequence[Survey]], Rows],
    heads: Sequence[str],
    cells: Callable[[dict[str, Any]], Sequence[str]],
    *,
    as_json: bool,
) -> int:
    """Show what is at places until Ctrl+C, or until no host can be looked at any more.

    `describe` makes rows of what the hosts say, `cells` a row's below `heads`.
    """
    from . import wait_for

    surveys = [Survey(place) for place in where]
    with contextlib.nullcontext() if as_json else terminal.live() as show:

        def seen() -> None:
            rows = describe(surveys)
            if show is None:
                terminal.raw(described.write(rows))
                sys.stdout.flush()
                return
            troubles = [survey.trouble.line for survey in surveys if survey.trouble is not None]
            show(heads, [cells(row) for row in rows], "\n".join(machines(surveys) + troubles))

        try:
            wait_for(watch(surveys, seen))
        except KeyboardInterrupt:
            return 0
    for survey in surveys:
        if survey.trouble is not None:
            terminal.failure(survey.trouble)
    return 1


async def watch(surveys: list[Survey], seen: Callable[[], None]) -> None:
    """Keep `surveys` true, and call `seen` when one has changed; on the I/O thread.

    Returns when no host is worth another try.
    """

    async def one(number: int) -> None:
        place = surveys[number].place
        has_answered = False

        def told(answer: dict[str, Any]) -> None:
            nonlocal has_answered
            has_answered = True
            surveys[number] = kernels.survey(place, answer)
            seen()

        while True:
            try:
                await follow(place, told)
            except errors.SshpykError as error:
                surveys[number] = Survey(place, trouble=error)
                # Another login would only ask for the same again, and some hosts count.
                is_away = isinstance(error, errors.HostError)
                if not (has_answered and is_away) or isinstance(error, errors.NeedsPerson):
                    return
                seen()
            await asyncio.sleep(PAUSE)

    await asyncio.gather(*(one(number) for number in range(len(surveys))))


async def follow(place: Place, told: Callable[[dict[str, Any]], None]) -> None:
    """Have `told` called with each answer of a job at `place` that looks every `EVERY` seconds.

    Raises `SshpykError` where there are no more.
    """
    from ..transport import jobs
    from . import remote

    transport = remote.transport_to(place.destination)
    try:
        await within(CONNECT + 1.0, transport.ensure(timeout=CONNECT))
        async with jobs.Job(transport, place.python, {"do": "watch", "every": EVERY}) as job:
            while True:
                told(await within(ANSWER, job.answer()))
    except TimeoutError:
        raise errors.Unreachable(
            host=place.host,
            command=place.destination.for_people(),
            details=f"it has not answered within {ANSWER:g} s",
        ) from None
