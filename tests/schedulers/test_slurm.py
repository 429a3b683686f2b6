"""Kernels in allocations of a real Slurm: they start, wait, share, go on, and end for a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager

from sshpyk import errors
from sshpyk.jupyter import running
from sshpyk.link.thread import io_thread
from sshpyk.remotekernel import State
from sshpyk.schedulers.base import Allocation
from sshpyk.ssh.command import Destination
from sshpyk.transport.scheduled import InJob, transport
from tests.faults.test_outages import Lines
from tests.lab.kernels import (
    PATIENCE,
    client_of,
    left_behind,
    link_of,
    run_code,
    started,
    until_status,
    write_card,
)
from tests.lab.kernels import write_spec as write
from tests.lab.slurm import Slurm
from tests.lab.sshd import Sshd
from tests.places.test_kernels import PRINT, relay_pid

pytestmark = pytest.mark.sshd

JOB = "import os; print(os.environ['SLURM_JOB_ID'])"


def write_spec(name: str, login: Sshd, options: str = "time=30", **config: Any) -> None:
    """A kernelspec for the allocation of its name; without a long wait for what is queued."""
    write(name, login, **{"slurm": options, "allocation": name, "queue_timeout": 40.0, **config})


def job_in(client: Any) -> str:
    return run_code(client, JOB).strip()


def wait_ended(manager: KernelManager) -> str:
    """How a kernel has ended, once the scheduler has given the reason."""
    status = until_status(
        manager,
        lambda status: (
            status.state is State.EXITED
            and status.exited is not None
            and "allocation" in (status.exited["note"] or "")
        ),
    )
    assert status.state is State.EXITED
    assert status.exited is not None
    return str(status.exited["note"])


def test_kernels_share_an_allocation_and_restart_in_it(slurm: Slurm, login: Sshd) -> None:
    write_spec("far", login)
    with started("far") as (manager, client):
        job = job_in(client)
        assert slurm.jobs() == {job: "RUNNING"}
        pid = run_code(client, "print(os.getpid())")
        with started("far") as (other, other_client):
            assert job_in(other_client) == job
            assert relay_pid(manager) == relay_pid(other)
        manager.restart_kernel()
        client.wait_for_ready(timeout=60)
        assert job_in(client) == job
        assert run_code(client, "print(os.getpid())") != pid
        address = link_of(manager).address.destination
        assert (address.job, address.node) == (job, "n1")  # type: ignore[union-attr]
        ends_at = link_of(manager).status.ends_at
        assert ends_at is not None
        assert 29 * 60 < ends_at - time.time() <= 30 * 60 + 5
    assert slurm.jobs() == {job: "RUNNING"}
    assert slurm.calls("sbatch") == 1


#: Kernels at once.
MANY = 20


def test_many_kernels_at_once_ask_once(slurm: Slurm, login: Sshd, remote_home: Path) -> None:
    write_spec("many", login)

    async def all_at_once() -> set[str]:
        managers = [AsyncKernelManager(kernel_name="many") for _ in range(MANY)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        jobs = {manager.provisioner.kernel.transport.allocation.job for manager in managers}  # type: ignore[union-attr]
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in managers))
        return jobs

    assert len(asyncio.run(all_at_once())) == 1
    # Nothing, one look that finds it pending, and those after its submission.
    assert slurm.calls("sbatch") == 1
    assert slurm.calls("squeue") <= 4
    assert slurm.calls("srun") == MANY + 1
    assert left_behind(remote_home) == []


def test_a_hundred_that_wait_ask_as_one(slurm: Slurm, login: Sshd) -> None:
    """And nothing else of ours runs on the login node."""
    outer = Destination("login", ssh_config=str(login.ssh_config))
    asked = Allocation("time=30 partition=away", "hundred", outer, python=sys.executable)

    async def wait() -> list[object]:
        place = transport(asked)
        await place.ensure(timeout=PATIENCE)
        starts = [
            place.allocate(lambda text: None, patience=2.0, may_submit=True) for _ in range(100)
        ]
        return list(await asyncio.gather(*starts, return_exceptions=True))

    ends = io_thread().submit(wait()).result()
    assert {type(end) for end in ends} == {errors.StillQueued}
    assert len(slurm.jobs()) == slurm.calls("sbatch") == 1
    # Before, after the submission, after a second, and the last.
    assert slurm.calls("squeue") <= 4
    assert slurm.calls("srun") == 0


def test_what_is_queued_says_why_and_stays(slurm: Slurm, login: Sshd) -> None:
    for node in ("n1", "n2"):
        slurm.run(
            *("sbatch", "--exclusive", "--time=30", "-w", node, "-o", "/dev/null"),
            *("--wrap", "sleep 1000"),
        )
    write_spec("wait", login, queue_timeout=5.0)
    manager = KernelManager(kernel_name="wait")
    stages: list[str | None] = []
    with pytest.raises(errors.StillQueued) as caught:
        watch_stages(manager.start_kernel, stages)
    manager.context.destroy(linger=100)
    told = " ".join(str(caught.value).split())
    assert re.search(r"is queued: .*\((Resources|Priority)\)", told), told
    assert re.search(r"expected to start at \d\d:\d\d", told), told
    assert "It stays queued" in told
    assert any(text and text.startswith("queued: ") for text in stages), stages
    assert slurm.calls("squeue") <= 5  # the first, after the submission, 1 s, 3 s, the last
    mine = slurm.run("squeue", "-h", "-n", "sshpyk-wait", "-o", "%i %T").split()
    assert mine[1] == "PENDING"
    slurm.run("scancel", "-n", "wrap")
    slurm.until_running(mine[0])
    with started("wait") as (_, client):
        assert job_in(client) == mine[0]
    assert slurm.calls("sbatch") == 1


def watch_stages(start: Callable[[], object], stages: list[str | None]) -> None:
    """Start a kernel, with the texts of its stages noted."""

    def added(one: running.Running) -> None:
        one.kernel.subscribe(lambda status: stages.append(status.stage_text))

    async def watch() -> Any:
        return running.watch(added)

    end = io_thread().submit(watch()).result()
    try:
        start()
    finally:
        end()


def test_a_start_that_is_cancelled_takes_its_job_back(slurm: Slurm, login: Sshd) -> None:
    write_spec("gone", login, "partition=away", queue_timeout=60.0)

    async def cancelled() -> None:
        manager = AsyncKernelManager(kernel_name="gone")
        start = asyncio.ensure_future(manager.start_kernel())
        while not slurm.jobs():  # noqa: ASYNC110  # only Slurm can tell
            await asyncio.sleep(0.05)
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start

    asyncio.run(cancelled())
    assert slurm.jobs() == {}


# -- how an allocation ends ------------------------------------------------------------------------


def test_scancel_is_told_and_only_a_person_asks_for_another(slurm: Slurm, login: Sshd) -> None:
    write_spec("ended", login)
    with started("ended") as (manager, client):
        job = job_in(client)
        slurm.run("scancel", job)
        note = wait_ended(manager)
        assert f"the allocation ended (job {job}) has ended: " in note
        assert "scancel" in note
        # As the restarter does.
        calls = slurm.calls("sbatch")
        manager.restart_kernel(now=True)
        assert slurm.calls("sbatch") == calls
        assert slurm.jobs() == {}
        # As Jupyter Server does where a person asks for it.
        manager.restart_kernel()
        client.wait_for_ready(timeout=60)
        again = job_in(client)
        assert slurm.jobs() == {again: "RUNNING"}
        assert again != job
        # The next has ended as well, and nobody has tried since.
        slurm.run("scancel", again)
        wait_ended(manager)
        stages: list[str | None] = []
        watch_stages(manager.restart_kernel, stages)
        client.wait_for_ready(timeout=60)
        assert slurm.jobs() == {job_in(client): "RUNNING"}
        assert any(text and text.startswith("queued: ") for text in stages), stages
        assert slurm.calls("sbatch") == calls + 2


def test_a_node_that_fails_ends_its_kernels_for_certain(slurm: Slurm, login: Sshd) -> None:
    write_spec("fails", login, "time=30 nodelist=n2")
    with started("fails") as (manager, client):
        job_in(client)
        slurm.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
        try:
            note = wait_ended(manager)
        finally:
            slurm.run("scontrol", "update", "NodeName=n2", "State=IDLE")
        assert "a machine of it failed" in note


def test_a_job_that_is_preempted_ends_its_kernels_for_certain(slurm: Slurm, login: Sshd) -> None:
    write_spec("preempted", login, "time=30 partition=scavenge exclusive")
    with started("preempted") as (manager, client):
        job = job_in(client)
        slurm.run(
            *("sbatch", "--partition=urgent", "--exclusive", "-o", "/dev/null"),
            *("--wrap", "sleep 1000"),
        )
        assert "given to another job (preempted)" in wait_ended(manager)
        slurm.until_gone(job)


def test_the_end_is_announced_and_then_it_is_told_that_time_was_up(
    slurm: Slurm,
    login: Sshd,
    remote_home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_spec("short", login, "time=2", persistent=True)
    with caplog.at_level(logging.WARNING), started("short") as (manager, client):
        run_code(client, "print('hello')")
        job = job_in(client)
        until_status(manager, lambda status: status.ending)
        # It has something to say until its end: the pauses are the kernel's own work.
        client.execute("import time\nfor n in range(1000): print(n); time.sleep(.1)")
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 1))
        slurm.run("scontrol", "update", f"JobId={job}", f"EndTime={now}")
        assert "its time was up" in wait_ended(manager)
    assert any("ends in" in text for text in caplog.messages)


def test_an_allocation_without_kernels_ends_by_itself(slurm: Slurm, login: Sshd) -> None:
    write_spec("idle", login, allocation_idle=2.0)
    with started("idle") as (_, client):
        job = job_in(client)
        run_code(client, "import time; time.sleep(3)")
        assert slurm.jobs() == {job: "RUNNING"}
    slurm.until_gone(job)
    assert "COMPLETED" in slurm.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")


# -- what it outlives ------------------------------------------------------------------------------


def test_no_line_is_lost_when_step_login_and_controller_go(
    slurm: Slurm, login: Sshd, other_login: Sshd, tmp_path: Path
) -> None:
    # The cluster's name, which leads to one login node after the other.
    config = tmp_path / "ssh_config"
    config.write_text(login.config_text("login"))
    write_spec("cut", login, ssh_config=str(config))
    with started("cut") as (manager, client):
        job = job_in(client)
        first = client.execute(PRINT.replace("200", "400"))
        lines = Lines(client)
        lines.read_until(lambda: len(lines.lines) >= 30)
        os.kill(relay_pid(manager), signal.SIGKILL)
        lines.read_until(lambda: len(lines.lines) >= 90)
        config.write_text(other_login.config_text("login"))
        subprocess.run(["pkill", "-P", str(login.process.pid)], check=True)  # its connections
        lines.read_until(lambda: first in lines.idle)
        assert lines.lines == [*map(str, range(400))]
        # A controller that is away is no end of anything.
        slurm.end("slurmctld")
        os.kill(relay_pid(manager), signal.SIGKILL)
        until_status(manager, lambda status: status.state is State.AWAY)
        slurm.start("slurmctld")
        until_status(manager, lambda status: status.state is State.CONNECTED)
        assert job_in(client) == job
        assert "Accepted" in other_login.log.read_text()
        begun = time.monotonic()
        busy = client.execute("import time; time.sleep(30)")
        until_busy(client, busy)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=20)
        while reply["parent_header"].get("msg_id") != busy:
            reply = client.get_shell_msg(timeout=20)
        assert reply["content"]["status"] == "error"
        assert time.monotonic() - begun < 20


def until_busy(client: Any, id: str) -> None:
    while True:
        message = client.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == id and message["msg_type"] == "execute_input":
            return


def test_from_the_login_node_itself_without_ssh(
    slurm: Slurm, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{slurm.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(short_tmp))
    write_card("here", slurm="time=30", allocation="here", session="kept")
    manager = KernelManager(kernel_name="here")
    manager.start_kernel()
    with client_of(manager) as client:
        job = job_in(client)
        run_code(client, "x = 6")
    manager.shutdown_kernel()  # which leaves it
    manager.context.destroy(linger=100)
    with started("here") as (again, client):
        assert run_code(client, "print(x * 7)") == "42\n"
        assert isinstance(link_of(again).transport, InJob)
        assert job_in(client) == job
