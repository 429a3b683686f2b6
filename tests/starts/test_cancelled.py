"""Launches that end half-way: cancelled, killed, or cut off, at every moment of theirs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager

from sshpyk import errors
from tests.lab.kernels import PATIENCE, STATE, run_code, started, write_spec
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd

#: The parts of a launch at which it is ended; it takes less than a second on a quiet machine.
MOMENTS = [number / 14 for number in range(14)]


def launch_time(name: str) -> float:
    """Seconds that a launch takes at least, without a login: the best of three, the first of which
    may log in. The machine may be busier or quieter in a moment; what is ended at a part of the
    best time is almost always ended before it is over."""
    return min(launch(name) for _ in range(3))


def launch(name: str) -> float:
    """Launch a kernel and end it; the seconds that it took to come up."""

    async def measure() -> float:
        manager = AsyncKernelManager(kernel_name=name)
        begun = time.monotonic()
        await manager.start_kernel()
        taken = time.monotonic() - begun
        await manager.shutdown_kernel(now=True)
        return taken

    return asyncio.run(measure())


def descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def cancel_after(name: str, seconds: float) -> bool:
    """Cancel a start after so many seconds; whether it was not over by then."""
    manager = AsyncKernelManager(kernel_name=name)
    start = asyncio.ensure_future(manager.start_kernel())
    await asyncio.wait([start], timeout=seconds)
    start.cancel()
    try:
        await start
    except asyncio.CancelledError:
        # It may be jupyter_client's own part that was cancelled, after the launch: then there is a
        # kernel, and whoever has the manager ends it.
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)
        return True
    await manager.shutdown_kernel(now=True)
    return False


def test_a_cancelled_launch_leaves_nothing(server: Server) -> None:
    write_spec("cancelled", server)
    taken = launch_time("cancelled")
    server.leftovers.assert_clean()
    before = descriptors()
    was_cancelled = []
    for moment in MOMENTS:
        was_cancelled.append(asyncio.run(cancel_after("cancelled", moment * taken)))
        # Nothing is waited for any more when the cancelled start has returned.
        left = [line for line in server.leftovers.find() if "forwards" in line]
        assert left == [], (moment, was_cancelled)
        server.leftovers.assert_clean()
    assert was_cancelled.count(True) >= 7
    assert descriptors() <= before
    # A new kernel starts as if nothing had been.
    with started("cancelled") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert server.logins == 1


def test_a_login_that_is_cancelled_leaves_nothing(new_server: NewServer) -> None:
    server = new_server(link=True)
    assert server.link is not None
    server.link.set_delay(0.05)
    write_spec("cancelled", server)
    for number in range(6):
        assert asyncio.run(cancel_after("cancelled", 0.05 + 0.1 * number))
    server.leftovers.assert_clean()


def forget_ended(state: Path) -> None:
    """Take away what is kept of kernels whose lease ran out; for a week it can be asked for."""
    for path in state.glob("*.ended.json"):
        if json.loads(path.read_text())["why"] == "its lease ran out":
            for kept in state.glob(f"{path.name.partition('.')[0]}.*"):
                kept.unlink()


START = """
import sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="killed")
print("begun", flush=True)
manager.start_kernel()
print("started", manager.provisioner.kernel.agent.id, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_in_a_launch_leaves_nothing(
    server: Server, signum: signal.Signals
) -> None:
    write_spec("killed", server, launch_timeout=20, lease=3.0)
    taken = launch_time("killed")
    argv = [sys.executable, "-c", START]
    pipe = subprocess.PIPE
    killed = 0
    for number in range(9):
        with subprocess.Popen(argv, stdout=pipe, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(taken * number / 10)  # the moment is what this is about
            process.send_signal(signum)
            said, _ = process.communicate(timeout=PATIENCE)
        if said:
            break  # over: now the kernel has its lease
        killed += 1
    assert killed >= 5
    # What a killed process could not put away here, the next one does.
    launch("killed")
    # A kernel is somebody's from when its launch is confirmed, a little before that is said here.
    # Who gets SIGINT after it was said ends it.
    if said and signum == signal.SIGINT:
        server.leftovers.assert_clean(patience=60)
    else:
        state = server.home / STATE
        server.leftovers.assert_clean(patience=60, meanwhile=lambda: forget_ended(state))


@pytest.mark.parametrize("fault", ["cut", "hole"])
def test_a_connection_that_breaks_in_a_launch_leaves_nothing(
    new_server: NewServer, fault: str
) -> None:
    server = new_server(link=True)
    link = server.link
    assert link is not None
    link.set_delay(0.01)
    write_spec("broken", server)
    taken = launch_time("broken")
    if fault == "hole":  # nothing else ends these
        write_spec("broken", server, launch_timeout=4)

    async def break_after(seconds: float) -> str:
        manager = AsyncKernelManager(kernel_name="broken")
        start = asyncio.ensure_future(manager.start_kernel())
        await asyncio.wait([start], timeout=seconds)
        link.cut() if fault == "cut" else link.hole()
        await asyncio.wait([start])
        link.heal()
        if (error := start.exception()) is not None:
            assert isinstance(error, errors.SshpykError)
            return str(error)
        await manager.shutdown_kernel(now=True)
        return ""

    moments = range(0, 16, 2) if fault == "cut" else range(2, 14, 5)
    said = [asyncio.run(break_after(taken * number / 14)) for number in moments]
    assert any(said)
    server.leftovers.assert_clean(patience=60)
    write_spec("broken", server)
    launch("broken")
