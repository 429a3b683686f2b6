"""Kernels that take more memory than their allocation has, of a real Slurm and a real Linux."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.link.thread import io_thread
from sshpyk.wire import exits
from tests.lab import memory
from tests.lab.kernels import PATIENCE, link_of, run_code, started
from tests.lab.slurm import Slurm, login_node, trouble
from tests.lab.sshd import Sshd
from tests.schedulers.test_slurm import job_in, wait_ended, write_spec

pytestmark = pytest.mark.sshd

#: Takes more than the allocations here have, and goes on.
TAKE = "taken = bytearray(700_000_000); taken[::4096] = b'x' * len(taken[::4096])"

#: What Slurm calls 400M.
SIZE = 400 * 1024 * 1024


@pytest.fixture
def limiting(slurm: Slurm) -> Slurm:
    """The Slurm, whose jobs are in cgroups."""
    if not slurm.has_cgroups:
        pytest.skip(memory.REASON)
    return slurm


def test_linux_ends_a_kernel_and_then_the_allocation(limiting: Slurm, login: Sshd) -> None:
    write_spec("small", login, "time=30 mem=400M")
    with started("small") as (manager, client), started("small") as (_, other):
        job = job_in(client)
        link = link_of(manager)
        client.execute(TAKE)
        io_thread().submit(link.exit_seen()).result(PATIENCE)
        exited = link.exited
        assert exited is not None
        cause = exited["cause"]
        assert cause is not None
        assert (cause["kind"], cause["limit"]) == (exits.MEMORY, SIZE)
        said = errors.describe_exit(exited)
        assert said.startswith("killed for want of memory: it used ")
        assert said.endswith(" MB of the 419.4 MB that the host allows it")
        assert job_in(other) == job, "the other kernel there has lost nothing"
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert job_in(client) == job
        assert limiting.jobs() == {job: "RUNNING"}
        # Where Linux ends our program there, all of it ends; as Slurm from 23.11 has it by itself
        # where it is told to (OOMKillStep).
        holder = int(run_code(client, "import os; print(os.environ['SLURM_TASK_PID'])"))
        Path(f"/proc/{holder}/oom_score_adj").write_text("1000")  # it is the first to be killed
        client.execute(TAKE)
        note = wait_ended(manager)
    assert note.endswith(
        f"(job {job}) has ended: it used more memory than it had asked for: 400M a machine"
    )


@pytest.fixture
def looking(remote_home: Path) -> Iterator[tuple[Slurm, Sshd]]:
    """A Slurm that looks after its jobs' memory itself, and a login node."""
    if reason := trouble():
        pytest.skip(reason)
    with Slurm(looking=True) as slurm, login_node(slurm, remote_home) as login:
        yield slurm, login


def test_slurm_ends_the_job(looking: tuple[Slurm, Sshd]) -> None:
    slurm, login = looking
    write_spec("watched", login, "time=30 mem=400M acctg-freq=task=1")
    with started("watched") as (manager, client):
        job = job_in(client)
        pid = int(run_code(client, "import os; print(os.getpid())"))
        kernel = os.pidfd_open(pid)
        client.execute(TAKE)
        note = wait_ended(manager)
        slurm.until_gone(job)
    assert note.endswith(
        f"(job {job}) has ended: its program was killed, perhaps for using more memory than it had "
        "asked for: 400M a machine"
    )
    assert "exceeded memory limit" in (slurm.directory / "slurmd.n1.log").read_text()
    # Not `os.kill(pid, 0)`: where init is slow it is there for a while, dead.
    readable, _, _ = select.select([kernel], [], [], 10)
    os.close(kernel)
    assert readable
