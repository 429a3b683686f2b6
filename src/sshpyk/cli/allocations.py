"""`sshpyk allocations`: what schedulers have lent us, and asking for more, less, longer."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..schedulers.base import Allocation, Job, Phase
from ..ssh.command import Destination
from . import described, kernels, place
from .rows import moment, span
from .terminal import Terminal

if TYPE_CHECKING:
    from ..transport.scheduled import Scheduled
    from .place import Place

DESCRIPTION = """\
Show the allocations of clusters that kernels run in, or wait for; `start` asks for those of
kernelspecs before a kernel needs them, `cancel` ends them and all kernels in them, `extend` lets
them run longer, where the cluster allows that.
"""

ACTIONS = ("start", "cancel", "extend")

HEADS = ("ALLOCATION", "HOST", "JOB", "STATE", "REASON", "NODE", "PARTITION", "GPUS", "TIME LEFT")


@dataclass
class Found:
    """What a cluster says of our allocations there; `trouble` is why it says nothing."""

    asked: Allocation  # one of those that are known there, to ask for
    jobs: list[Job] = field(default_factory=list)
    trouble: errors.SshpykError | None = None

    @property
    def host(self) -> str:
        """The login node, as the user calls it."""
        return "" if self.asked.outer is None else self.asked.outer.host


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("action", nargs="?", choices=ACTIONS, help="default: show them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which allocations")
    kernels.add_place_options(
        parser, host_help="the login node (default: those of all kernelspecs)"
    )
    parser.add_argument(
        "--by", type=_minutes, default=60, metavar="MINUTES", help="how much longer (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")


def _minutes(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes")
    return int(text)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    known = _known(arguments.hosts, arguments.ssh_config)
    if arguments.action is None:
        with terminal.busy("Asking …"):
            found: list[Found] = wait_for(survey(known))
        rows = [describe(one, job) for one in found for job in one.jobs]
        if arguments.json:
            terminal.raw(described.write(rows, 1))
        elif rows:
            terminal.table(HEADS, map(cells, rows))
        elif not any(one.trouble for one in found):
            terminal.note("There are no allocations.", "dim")
        for one in found:
            if one.trouble is not None:
                terminal.failure(one.trouble)
        return int(any(one.trouble for one in found))
    if not arguments.names:
        raise errors.SettingsError(text="Which allocations? Name them.")
    for name in arguments.names:
        terminal.say(f"{name}: {wait_for(_act(arguments, known, name))}")
    return 0


def _known(hosts: Sequence[str], ssh_config: str | None) -> list[Allocation]:
    """The allocations of kernelspecs, and hosts that are named. Raises `SettingsError`."""
    from ..jupyter import kernelspec
    from ..jupyter.places import destination_of

    cards = (destination_of(spec.config) for spec in kernelspec.all_specs().values())
    known = [one for one in cards if isinstance(one, Allocation)]
    if hosts:
        known = [one for one in known if one.outer is not None and one.outer.host in hosts]
        there = {one.outer.host for one in known if one.outer is not None}
        known += [
            Allocation("", "none", Destination(host, ssh_config=ssh_config))
            for host in hosts
            if host not in there
        ]
    if not known:
        raise errors.SettingsError(
            text="No kernelspec names an allocation yet.",
            advice="Name a login node (--host), or add one:",
            command="sshpyk add LOGIN --slurm 'partition=gpu gres=gpu:1 time=4:00:00'",
        )
    return known


async def survey(known: Sequence[Allocation]) -> list[Found]:
    """Our jobs on all login nodes of `known`, asked side by side; each is asked once."""

    async def one(asked: Allocation) -> Found:
        try:
            queue = (await _scheduled(asked)).queue
            jobs = await queue.jobs()
        except errors.SshpykError as error:
            return Found(asked, trouble=error)
        living = [job for job in jobs if job.allocation and job.phase is not Phase.ENDED]
        return Found(asked, await queue.with_gpus(living))

    by_node = {asked.outer: asked for asked in reversed(known)}
    return list(await asyncio.gather(*map(one, by_node.values())))


async def of_places(where: Sequence[Place]) -> list[Found]:
    """The same for the places that `ps` asks."""
    return await survey([p.destination for p in where if isinstance(p.destination, Allocation)])


async def _scheduled(asked: Allocation) -> Scheduled:
    """The way to it, when its login node has let us in. Raises `SshpykError`."""
    from ..transport.scheduled import Scheduled
    from .remote import transport_to

    there = transport_to(asked)
    assert isinstance(there, Scheduled)
    try:
        await within(place.CONNECT + 1.0, there.ensure(timeout=place.CONNECT))
    except TimeoutError:
        raise errors.Unreachable(host=asked.host, command=there.login.command) from None
    return there


async def _act(arguments: argparse.Namespace, known: list[Allocation], name: str) -> str:
    """Do `arguments.action` with the allocation `name`; what became of it, for people."""
    if arguments.action == "start":
        cards = list(dict.fromkeys(one for one in known if one.name == name))
        if len(cards) != 1:
            raise _unclear(name, [one.host for one in cards], "kernelspec names")
        job = await (await _scheduled(cards[0])).ask_for_it()
        return f"job {job.id}, {_state(job)}"
    found = await survey(known)
    there = [(one, job) for one in found for job in one.jobs if job.allocation == name]
    if len({one.host for one, _ in there}) != 1:
        for one in found:
            if one.trouble is not None and not there:
                raise one.trouble
        raise _unclear(name, [one.host for one, _ in there], "allocation is called")
    for one, job in there:
        queue = (await _scheduled(one.asked)).queue
        if arguments.action == "cancel":
            await queue.cancel(job.id)
        else:
            await queue.extend(job.id, arguments.by)
            job = await queue.find(job.id) or job
    if arguments.action == "cancel":
        return f"cancelled (job {', '.join(job.id for _, job in there)})"
    left = "" if job.ends_at is None else f", until {moment(job.ends_at)}"
    return f"extended by {arguments.by} min{left}"


def _unclear(name: str, hosts: Sequence[str], what: str) -> errors.SettingsError:
    if hosts:
        text = f"{name!r} is on several: {', '.join(hosts)}. Add --host."
        return errors.SettingsError(text=text)
    return errors.SettingsError(
        text=f"No {what} {name!r}.", advice="See which there are:", command="sshpyk allocations"
    )


def describe(found: Found, job: Job) -> dict[str, Any]:
    """An allocation as `--json` has it; times in seconds since 1970, null where unknown."""
    return {
        "name": job.allocation,
        "host": found.host or None,
        "job": job.id,
        "state": job.phase.value,
        "reason": job.why if job.phase is Phase.PENDING else None,
        "reason_text": job.words or None if job.phase is Phase.PENDING else None,
        "node": job.node or None,
        "partition": job.partition,
        "gpus": job.gpus or None,
        "starts_at": job.starts_at,
        "ends_at": job.ends_at,
    }


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of an allocation's row, below `HEADS`."""
    is_pending = row["state"] == "pending"
    left = ""
    if row["ends_at"] is not None and not is_pending:
        left = span(row["ends_at"] - time.time())
    elif row["starts_at"] is not None and is_pending:
        left = f"starts {moment(row['starts_at'])}"
    reason = row["reason_text"] or row["reason"] or ""
    return (
        *(row["name"], row["host"] or "", row["job"], row["state"], reason, row["node"] or ""),
        *(row["partition"], row["gpus"] or "", left),
    )


def lines(found: Sequence[Found]) -> list[str]:
    """A line for each allocation, for `ps`."""
    told = []
    for one in found:
        for job in one.jobs:
            row = describe(one, job)
            where = f" on {row['node']}" if row["node"] else ""
            gpus = f", {row['gpus']}" if row["gpus"] else ""
            left = cells(row)[-1]
            when = f", {left}" + ("" if left.startswith("starts") else " left") if left else ""
            told.append(f"slurm:{row['name']}: job {job.id}, {_state(job)}{where}{gpus}{when}")
    return told


def _state(job: Job) -> str:
    reason = job.words or job.why
    return f"queued: {reason}" if job.phase is Phase.PENDING and reason else job.phase.value
