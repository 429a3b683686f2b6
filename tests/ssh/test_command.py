"""The one way to run ssh: how it ends, whatever its caller does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from sshpyk.ssh.command import end, run

PATIENCE = 20.0


def test_a_result_has_status_and_both_outputs() -> None:
    result = asyncio.run(run(["sh", "-c", "cat; echo no >&2; exit 3"], timeout=10, stdin=b"yes"))
    assert result == (3, "yes", "no\n")


def test_who_takes_too_long_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutError):
        asyncio.run(run(["sh", "-c", f"echo $$ > {pid}; exec sleep 600"], timeout=0.5))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(("status", "stays"), [(0, True), (255, False)])
def test_a_helper_ends_with_what_failed_only(status: int, stays: bool, tmp_path: Path) -> None:
    """As an ssh to a jump host does, which the connection needs that was made through it."""
    pid = tmp_path / "pid"
    helper = f"sleep 600 >/dev/null 2>&1 & echo $! > {pid}; exit {status}"
    asyncio.run(run(["sh", "-c", helper], timeout=PATIENCE))
    child = int(pid.read_text())
    assert eventually_gone(child) is not stays
    if stays:
        os.kill(child, signal.SIGKILL)


def eventually_gone(pid: int) -> bool:
    """Whether a process, which is not this one's child, ends within a second."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("steps", range(12))
def test_a_run_that_is_cancelled_leaves_no_child(steps: int, tmp_path: Path) -> None:
    """After so many turns of the loop: the child, its pipes and its watcher are there in part."""
    pid = tmp_path / "pid"

    async def work() -> None:
        argv = ["sh", "-c", f"echo $$ > {pid}; exec sleep 600"]
        task = asyncio.ensure_future(run(argv, timeout=PATIENCE))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
        assert done, "it hangs"
        assert task.cancelled()

    asyncio.run(work())
    if pid.exists() and (text := pid.read_text()):
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)


def test_a_child_ends_whose_stdin_somebody_has_and_does_not_read() -> None:
    """As a master does with a session's while the network is silent."""

    async def work() -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "sleep", "600", stdin=pipe, start_new_session=True
        )
        assert process.stdin is not None
        kept = os.open(f"/proc/{process.pid}/fd/0", os.O_RDONLY)
        try:
            process.stdin.write(bytes(1 << 20))
            await asyncio.wait_for(end(process), PATIENCE)
        finally:
            os.close(kept)

    asyncio.run(work())
