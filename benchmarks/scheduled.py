"""Rows about kernels in a job of Slurm's, behind a login node, beside `srun … cat` alone."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from tests.lab.kernels import write_spec
from tests.lab.slurm import Slurm
from tests.lab.sshd import Sshd

from . import measures
from .places import Started
from .rows import Row

#: Bytes per second between the client and the login node while the interrupt is timed: that of the
#: row for hosts.
RATE = 20_000_000


@contextlib.contextmanager
def in_job() -> Iterator[tuple[Slurm, Sshd, Started]]:
    """A Slurm, its login node behind a link, and a kernel in a job."""
    with contextlib.ExitStack() as stack:
        slurm = stack.enter_context(Slurm())
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="h-", dir="/tmp"))
        path = {"PATH": f"{slurm.bin}:{os.environ['PATH']}"}
        login = Sshd(home=home, environment=path, host="login", link=True)
        stack.enter_context(login)
        write_spec("ours", login, slurm="time=30", allocation="ours")
        kernel = Started("ours")
        stack.callback(kernel.end)
        yield slurm, login, kernel


def _bare(slurm: Slurm, login: Sshd, megabytes: int) -> float:
    """Bytes per second of so many megabytes out of `srun … cat` in a session of ssh."""
    (job,) = slurm.jobs()
    srun = f"srun --jobid={job} --overlap -N1 -n1 -u"
    command = f"{srun} sh -c 'head -c {megabytes}000000 /dev/zero | cat'"
    return measures.out_of(login, command)


def throughput(server: Sshd) -> Row:
    with in_job() as (slurm, login, kernel):
        floor = _bare(slurm, login, 200)
        ours = measures.throughput(kernel.client, 200)
    ratio = ours / floor
    return Row(
        "in a job: 200 MB of iopub",
        "≥ 0.8 × srun … cat",
        ratio,
        ratio >= 0.8,
        f"{ratio:.2f} × ({ours / 1e6:.0f} MB/s, srun {floor / 1e6:.0f} MB/s)",
        {"ours": ours, "srun": floor},
    )


def interrupt(server: Sshd) -> Row:
    with in_job() as (_, login, kernel):
        assert login.link is not None
        login.link.set_rate(RATE)
        seconds = measures.interrupt_while_sending(kernel, 500)
        login.link.set_rate(0)
    return Row(
        "in a job: interrupt while 500 MB are on the way at 20 MB/s",
        "≤ 0.3 s",
        seconds,
        seconds <= 0.3,
        f"{seconds:.2f} s",
    )
