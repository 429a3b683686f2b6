"""Allocations of a scheduler as places: a kernel starts in one, and waits for it where it must.

`Scheduled` is the allocation by its name, whatever job that is today; `InJob` is the very job, in
which an agent is for all of its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import errors
from ..schedulers.base import Allocation, Job, Phase, pick
from ..schedulers.slurm import Slurm
from . import command
from .base import Dialer, Identity, Listening, Login, Program, Transport
from .by_relay import ByRelay
from .command import Command
from .entrance import Entrance
from .queue import BY_HOLDER, COMMAND_WITHIN, FIRST_LOOKS, LOOK, RUN, Queue, queue
from .registry import Registry

if TYPE_CHECKING:
    from .unanswered import Heard

#: This machine, as the login node. It has the path of a program that is everywhere.
HERE = Entrance("env")


def login_node(allocation: Allocation) -> Transport:
    """The way to where the scheduler is asked."""
    return command.transport(allocation.outer or HERE)


def queue_of(allocation: Allocation) -> Queue:
    """The queue in which it is asked for."""
    host = allocation.outer.host if allocation.outer else "this machine"
    return queue(login_node(allocation), Slurm(), host, allocation.for_people())


class InJob(Command):
    """A job: a place that is entered by the scheduler's own command."""

    def __init__(self, allocation: Allocation) -> None:
        self.queue: Queue = queue_of(allocation)
        enter = self.queue.scheduler.enter(allocation.job, allocation.node)
        line = shlex.join(["sh", "-c", RUN, "sh", *enter, "sh", "-c", BY_HOLDER, "sh"])
        super().__init__(Entrance(line, allocation.outer))
        self.destination = self.allocation = allocation
        self.host = allocation.host
        self.ends_at: float | None = None

    @property
    def login(self) -> Login:
        to = self.allocation
        connect = f"sshpyk doctor {to.for_connect()}"
        return Login(to.for_people(), connect, copy_key="", ask=to.for_people())

    @property
    def is_in_use(self) -> bool:
        """Whether something of ours in it is known to run, without asking anybody."""
        relay = self._shared.relay
        return relay is not None and relay.is_usable(self.identity())

    async def _connect_anew(self, dead: Identity | None, timeout: float) -> Identity:
        try:
            return await super()._connect_anew(dead, timeout)
        except errors.AllocationEnded:
            await self.require_running(since=None)
            raise
        except errors.SshpykError:
            await self.require_running(since=asyncio.get_running_loop().time() - LOOK)
            raise

    async def require_running(self, *, since: float | None) -> None:
        """Raise `AllocationEnded` where the scheduler says that the job is over; do nothing where
        it says nothing."""
        id = self.allocation.job
        try:
            job = await self.queue.find(id, since=since)
            if job is None or job.phase is Phase.ENDED:
                raise ended(self.allocation, id, await self.queue.how_it_ended(id))
            self.ends_at = job.ends_at
        except (errors.HostError, OSError):
            pass  # unknown is not ended

    async def give_back(self) -> None:
        with contextlib.suppress(errors.SshpykError, OSError):
            await self.queue.cancel(self.allocation.job)

    async def look_at_end(self) -> float | None:
        """When the job will end, as the scheduler says now. Raises `HostError`."""
        job = await self.queue.find(
            self.allocation.job, since=asyncio.get_running_loop().time() - LOOK
        )
        if job is not None and job.phase is Phase.RUNNING:
            self.ends_at = job.ends_at
        return self.ends_at

    def judge(
        self, heard: Heard, kind: type[errors.SshpykError], fields: dict[str, str]
    ) -> tuple[type[errors.SshpykError], dict[str, str]]:
        said = f"{heard.stdout}\n{heard.stderr}"
        common = {
            "name": self.allocation.name,
            "job": self.allocation.job,
            "scheduler": self.queue.scheduler.name,
            "program": "srun",
            "advice": "",
            "remote": "",
        }
        if "SSHPYK2-NO-HOLDER" in said:
            return errors.NoHolder, {**common, **fields}
        refusal = self.queue.scheduler.refusal(None, said) if heard.status else None
        if refusal is not None and refusal.kind is not errors.JobRefused:
            return refusal.kind, {**common, **refusal.fields}
        return super().judge(heard, kind, fields)

    def node(self, name: str) -> Transport:
        return self  # a job's machine is always the same one


class Scheduled(ByRelay):
    """An allocation by its name: whatever job that is now, else the login node alone, from which
    the records of its kernels can be read."""

    is_lent = True

    def __init__(self, allocation: Allocation) -> None:
        super().__init__(allocation)
        self.allocation = allocation
        self.outer = login_node(allocation)
        self.queue: Queue = queue_of(allocation)
        self._now: Transport = self.outer
        self._submitting = asyncio.Lock()  # one at a time looks, and asks for what is not there
        self._waiting: dict[str, int] = {}  # starts that wait, by the job's id

    # -- finding and asking for it ---------------------------------------------------------------

    async def allocate(
        self, say: Callable[[str], None], *, patience: float, may_submit: bool
    ) -> Transport:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        found = self._now
        if isinstance(found, InJob) and found.is_in_use:
            return found
        id = ""
        is_ours = False
        try:
            async with self._submitting:
                job = await self.current(since=begun)
                if job is None:
                    if not may_submit:
                        raise errors.NoAllocation(**self._fields())
                    job = await self._submit()
                    is_ours = True
                id = job.id
                self._waiting[id] = self._waiting.get(id, 0) + 1
            job = await self._wait(job, say, begun + patience, is_ours)
        except asyncio.CancelledError:
            if is_ours and self._waiting.get(id) == 1:
                # Nobody waits for it, and nobody was told that it stays.
                await asyncio.shield(asyncio.ensure_future(self._take_back(id)))
            raise
        finally:
            if id:
                self._waiting[id] -= 1
                if not self._waiting[id]:
                    del self._waiting[id]
        return self._enter(job)

    async def ask_for_it(self) -> Job:
        """Ask for it, where it is not there or asked for; its job. Raises `HostError`."""
        begun = asyncio.get_running_loop().time()
        async with self._submitting:
            return await self.current(since=begun) or await self._submit()

    async def current(self, *, since: float | None = None) -> Job | None:
        """The job that the allocation is now, as seen at `since` or later. Raises `HostError`."""
        return pick(await self.queue.jobs(since=since), self.allocation.name)

    async def _submit(self) -> Job:
        """Ask for it; its job, or that of who has asked a moment before us on another machine."""
        submitting = asyncio.ensure_future(self.queue.submit(self.allocation))
        try:
            id = await asyncio.shield(submitting)
            job = await self.current()
        except asyncio.CancelledError:
            # It may be there already, and nobody was told that it stays.
            await asyncio.shield(asyncio.ensure_future(self._take_back(submitting)))
            raise
        if job is None:
            raise ended(self.allocation, id, await self.queue.how_it_ended(id))
        if job.id != id:
            await self.queue.cancel(id)
        return job

    async def _wait(self, job: Job, say: Callable[[str], None], until: float, is_new: bool) -> Job:
        """Wait until it runs. All that wait share the looks."""
        loop = asyncio.get_running_loop()
        pauses = list(FIRST_LOOKS) if is_new else []
        while job.phase is Phase.PENDING:
            say(reason(job))
            if job.is_hopeless:
                await self.queue.cancel(job.id)
                raise errors.NeverStarts(**self._fields(job), why=reason(job))
            left = until - loop.time()
            if left <= 0:
                raise errors.StillQueued(
                    **self._fields(job),
                    reason=reason(job),
                    expected=expected(job),
                    allocation=self.allocation.for_allocations(),
                )
            pause = pauses.pop(0) if pauses else LOOK
            await asyncio.sleep(min(pause, left))
            # What somebody else has seen since a moment before will do.
            since = loop.time() - 0.9 * pause
            try:
                found = await self.queue.find(job.id, since=since)
            except errors.SchedulerDown:
                continue  # it is being restarted, and the job stays
            if found is None or found.phase is Phase.ENDED:
                why = await self.queue.how_it_ended(job.id)
                raise ended(self.allocation, job.id, why)
            job = found
        return job

    async def _take_back(self, job: str | asyncio.Future[str]) -> None:
        """Cancel a job, or that which is being submitted."""
        with contextlib.suppress(errors.SshpykError, OSError):
            await self.queue.cancel(job if isinstance(job, str) else await job)

    def _enter(self, job: Job) -> Transport:
        """The job as a place."""
        there = transport(replace(self.allocation, job=job.id, node=job.node))
        assert isinstance(there, InJob)
        there.ends_at = job.ends_at
        there.login_logs = self.login_logs
        self._now = there
        return there

    def _fields(self, job: Job | None = None) -> dict[str, str]:
        return {
            "host": self.queue.host,
            "name": self.allocation.name,
            "job": job.id if job is not None else "",
            "scheduler": self.queue.scheduler.name,
            "command": "",
        }

    # -- as any transport, through the job that there is -----------------------------------------

    @property
    def login(self) -> Login:
        return self.outer.login

    def identity(self) -> Identity | None:
        return self._now.identity()

    async def ensure(self, *, timeout: float) -> Identity:
        return await self.outer.ensure(timeout=timeout)

    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        return self.outer.reconnect(dead)

    def hurry(self) -> None:
        self.outer.hurry()

    async def answers(self) -> bool:
        return await self.outer.answers()

    @property
    def next_try(self) -> float | None:
        return self.outer.next_try

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        now = await self._look()
        async with now.run(command, is_lasting=is_lasting) as program:
            yield program

    async def _look(self) -> Transport:
        """The job where one runs, else the login node."""
        if not (isinstance(self._now, InJob) and self._now.is_in_use):
            job = await self.current()
            is_there = job is not None and job.phase is Phase.RUNNING
            self._now = self._enter(job) if job is not None and is_there else self.outer
            await self._now.ensure(timeout=COMMAND_WITHIN)
        return self._now

    def judge(
        self, heard: Heard, kind: type[errors.SshpykError], fields: dict[str, str]
    ) -> tuple[type[errors.SshpykError], dict[str, str]]:
        return self._now.judge(heard, kind, fields)

    async def doubt(self, error: errors.SshpykError) -> errors.SshpykError:
        return await self._now.doubt(error)

    async def dialer(self, listening: Listening) -> Dialer | None:
        if self._now.python is None:
            self._now.python = self.python
        return await (await self._look()).dialer(listening)

    async def way(self) -> str:
        return f"{self.queue.scheduler.name}'s own command, which runs one program of ours a job"

    def refused(self, family: str) -> str:
        return self._now.refused(family)

    def node(self, name: str) -> Transport:
        return self


def reason(job: Job) -> str:
    """Why it waits: our words, with the scheduler's own."""
    return f"{job.words} ({job.why})" if job.words and job.why else job.words or job.why


def expected(job: Job) -> str:
    """When it may start, for a sentence."""
    if job.starts_at is None:
        return "When it will start is not known yet"
    local = time.localtime(job.starts_at)
    is_today = local[:3] == time.localtime()[:3]
    when = time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", local)
    return f"It is expected to start at {when}"


def ended(allocation: Allocation, job: str, why: str) -> errors.AllocationEnded:
    """The error for a job that is over."""
    return errors.AllocationEnded(
        host=allocation.host, name=allocation.name, job=job, why=why, command=""
    )


_scheduled: Registry[Allocation, Transport] = Registry(
    lambda allocation: InJob(allocation) if allocation.job else Scheduled(allocation)
)


def transport(allocation: Allocation) -> Transport:
    """The process's one transport for an allocation, or for a job; call it on the I/O thread."""
    found = _scheduled.get(allocation)
    if isinstance(found, Scheduled):
        found.allocation = allocation  # of which something may be new that is not compared
    return found
