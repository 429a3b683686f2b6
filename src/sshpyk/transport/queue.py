"""A scheduler's queue, as this process sees it from one login node: all that is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from .. import errors
from ..aio import within
from ..schedulers.base import Job, Phase, Scheduler
from .jobs import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..schedulers.base import Allocation
    from .base import Program, Transport

#: Seconds for one command of the scheduler's.
COMMAND_WITHIN = 20.0

#: Seconds between two looks while something waits, and those after a job was submitted: most that
#: start at once do so within a second or two.
LOOK = 30.0
FIRST_LOOKS = (1.0, 3.0)

#: Seconds between those at a job that is being ended.
ENDING_LOOKS = (0.5, 1.0, 2.0, 4.0)

#: Bytes that a command may print.
LONGEST = 4 * 1024 * 1024

#: Runs the words behind it, also where a session without a terminal lacks the scheduler's PATH. No
#: shell but sh reads it.
RUN = (
    'PATH="$PATH:/usr/local/bin:/opt/slurm/bin:/usr/local/slurm/bin:/opt/slurm/current/bin"; '
    'export PATH; exec "$@"'
)
FEED = RUN.replace('exec "$@"', 'head -c "$0" | "$@"')

#: Where a holder says how to get to it, below the home directory.
DIRECTORY = ".local/state/sshpyk/allocations"

#: Runs the words behind it by the holder of the job, once that is there: it may just be starting.
BY_HOLDER = (
    f'f="$HOME/{DIRECTORY}/$SLURM_JOB_ID"; i=0; '
    'until [ -x "$f" ]; do i=$((i+1)); [ "$i" -lt 100 ] || { echo "SSHPYK2-NO-HOLDER" >&2; exit 4; '
    '}; sleep 0.1; done; exec "$f" "$@"'
)


class Queue:
    """The queue as seen from `host`, which `transport` reaches, and where `shell` gets a person a
    shell. On the I/O thread."""

    def __init__(self, transport: Transport, scheduler: Scheduler, host: str, shell: str) -> None:
        self.transport = transport
        self.host = host
        self.shell = shell
        self.scheduler = scheduler
        self._jobs: list[Job] = []
        self._looked_at = float("-inf")  # when the last look began, on the loop's clock
        self._looking = asyncio.Lock()

    async def jobs(self, *, since: float | None = None) -> list[Job]:
        """The jobs of the user, as seen at `since` on the loop's clock or later (None: now).

        However many ask at once, the host sees one command. Raises `HostError`.
        """
        wanted = asyncio.get_running_loop().time() if since is None else since
        async with self._looking:
            if self._looked_at < wanted:
                begun = asyncio.get_running_loop().time()
                text = await self._run(self.scheduler.look)
                self._jobs, self._looked_at = self.scheduler.jobs(text), begun
            return self._jobs

    async def with_gpus(self, jobs: list[Job]) -> list[Job]:
        """The jobs, with their GPUs also where it takes one more command to see them."""
        ids = [job.id for job in jobs if not job.gpus]
        if not ids:
            return jobs
        found: dict[str, str] = {}
        with contextlib.suppress(errors.SshpykError):
            found = self.scheduler.gpus(await self._run(self.scheduler.other_gpus(ids)))
        return [replace(job, gpus=job.gpus or found.get(job.id, "")) for job in jobs]

    async def find(self, id: str, *, since: float | None = None) -> Job | None:
        """The job of that id; None where the scheduler shows it no more."""
        return next((job for job in await self.jobs(since=since) if job.id == id), None)

    async def submit(self, allocation: Allocation) -> str:
        """Ask for an allocation; its job's id. Raises `HostError`."""
        script = holder_script(allocation)
        text = await self._run(self.scheduler.submit(allocation), script)
        id = self.scheduler.submitted(text)
        if id is None:
            raise errors.SchedulerStrange(
                host=self.host, scheduler=self.scheduler.name, details=text[-2000:]
            )
        return id

    async def cancel(self, id: str) -> None:
        """Cancel or end a job; nothing, where it has ended."""
        with contextlib.suppress(errors.AllocationEnded):
            await self._run(self.scheduler.cancel(id))

    async def extend(self, id: str, minutes: int) -> None:
        """Let a job run longer. Raises `HostError`: most sites leave that to administrators."""
        await self._run(self.scheduler.extend(id, minutes))

    async def test(self, allocation: Allocation) -> str:
        """What the scheduler says to these options, without a job. Raises `HostError` where it
        would refuse them."""
        said: list[str] = []
        words = self.scheduler.try_out(allocation)
        text = await self._run(words, holder_script(allocation), said)
        return self.scheduler.tried(text + "".join(said))

    async def offers(self) -> str:
        """What may be asked for, as the scheduler prints it."""
        return await self._run(self.scheduler.offers())

    async def how_it_ended(self, id: str) -> str:
        """Why a job has ended, in words; empty while it runs.

        One that is being ended is looked at again, for a few seconds: the reason comes last.
        """
        job = await self.find(id)
        for pause in ENDING_LOOKS:
            if job is None or not job.is_ending:
                break
            await asyncio.sleep(pause)
            job = await self.find(id)
        if job is not None and job.phase is not Phase.ENDED:
            return ""
        command = self.scheduler.past(id) if job is None else self.scheduler.closer(job)
        if command:
            # Many sites keep no accounts.
            with contextlib.suppress(errors.SshpykError, TimeoutError):
                words = self.scheduler.how_it_ended(await self._run(command))
                if words:
                    return words
        if job is not None:
            return job.words or job.why
        return f"{self.scheduler.name} no longer knows why"

    async def _run(
        self, words: Sequence[str], script: str = "", said: list[str] | None = None
    ) -> str:
        """What a command prints; what it says on stderr goes into `said`.

        Raises `HostError` where it fails, or takes too long.
        """
        data = script.encode()
        front = ["sh", "-c", FEED if data else RUN, str(len(data)) if data else "sh"]
        line = " ".join(map(quote, [*front, *words]))
        output = bytearray()
        try:
            async with self.transport.run(line) as program:
                if data:
                    program.write(data)
                status = await within(COMMAND_WITHIN, _read(program, output))
                stderr = program.stderr.decode("utf-8", "replace")
        except TimeoutError:
            raise errors.SchedulerDown(
                **self._fields(
                    words, f"`{words_of(words)}` has not ended within {COMMAND_WITHIN:g} s"
                ),
                advice="Try again when it answers. This shows it:",
                remote="squeue --me",
                details="",
            ) from None
        text = output.decode("utf-8", "replace")
        if status == 0:
            if said is not None:
                said.append(stderr)
            return text
        told = f"{text}\n{stderr}".strip()
        refusal = self.scheduler.refusal(status, told)
        if refusal is None:
            kind, fields = errors.SchedulerFailed, {"why": f"exit status {status}"}
        else:
            kind, fields = refusal.kind, refusal.fields  # type: ignore[assignment]
        raise kind(**{**self._fields(words, ""), **fields}, details=told[-2000:])

    def _fields(self, words: Sequence[str], why: str) -> dict[str, str]:
        return {
            "host": self.host,
            "scheduler": self.scheduler.name,
            "program": words_of(words),
            "command": self.shell,
            "why": why,
        }


def words_of(words: Sequence[str]) -> str:
    """The program that words run, without what is put before it."""
    return next(word for word in words if word != "env" and "=" not in word)


async def _read(program: Program, output: bytearray) -> int:
    while data := await program.read():
        if len(output) < LONGEST:
            output += data
    return await program.wait()


def holder_script(allocation: Allocation) -> str:
    """The job's script: a Python on the holder's source, which comes with it."""
    source = (importlib.resources.files("sshpyk") / "schedulers" / "holder.py").read_text("utf-8")
    python = allocation.python if "/" in allocation.python else "python3"
    home = python.startswith("~/")
    word = f'"$HOME"/{shlex.quote(python[2:])}' if home else shlex.quote(python)
    where = f'"$HOME/{DIRECTORY}"'
    return (
        f"#!/bin/sh\nexec {word} -I -S -X utf8 - {allocation.idle:g} "
        f"\"$SLURM_JOB_ID\" {where} <<'SSHPYK2_END'\n{source}\nSSHPYK2_END\n"
    )


_queues: WeakValueDictionary[tuple[Transport, str], Queue] = WeakValueDictionary()


def queue(transport: Transport, scheduler: Scheduler, host: str, shell: str) -> Queue:
    """The process's one `Queue` there; call it on the I/O thread."""
    found = _queues.get((transport, scheduler.name))
    if found is None:
        found = _queues[(transport, scheduler.name)] = Queue(transport, scheduler, host, shell)
    return found
