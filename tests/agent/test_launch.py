"""A launch whose connection falls silent half-way."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sshpyk.transport import package
from sshpyk.transport.jobs import FIRST_LINE
from tests.agent.launching import launch_request
from tests.lab.kernels import left_behind

PATIENCE = 30.0  # seconds


def test_the_rest_never_comes(tmp_path: Path) -> None:
    """No end of a pipe tells of a hole in the network: only the clock does."""
    reader, writer = os.pipe()
    started = f"/dev/fd/{writer}"
    program = ("sh", "-c", f"echo up > {started}; exec sleep 1000")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", FIRST_LINE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        pass_fds=[writer],
    ) as process:
        assert process.stdin is not None
        process.stdin.write(package.first() + launch_request(tmp_path, *program, launch_timeout=1))
        process.stdin.flush()
        os.close(writer)
        with os.fdopen(reader) as pipe:
            assert pipe.readline() == "up\n"
            assert process.wait(PATIENCE) == 1
            assert pipe.read() == ""  # so whoever could write has gone, the kernel too
    assert left_behind(tmp_path) == []


#: The kernel's process waits before it gets a group of its own, as on a busy machine.
SLOW_CHILD = """
import os
setsid, calls = os.setsid, []
def slow():
    calls.append(None)
    if len(calls) == 2:
        os.write({told}, b"forked %d" % os.getppid())
        os.read({wait}, 1)
    setsid()
os.setsid = slow
"""


@pytest.mark.parametrize("agent", ["ends by itself", "is killed"])
def test_the_launch_ends_before_the_kernel_has_its_group(tmp_path: Path, agent: str) -> None:
    wait, go = os.pipe()
    told, tell = os.pipe()
    program = SLOW_CHILD.format(wait=wait, told=tell) + FIRST_LINE
    started = ("sh", "-c", f"echo started > /dev/fd/{tell}; exec sleep 1000")
    with (
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            pass_fds=[wait, tell],
        ) as process,
        os.fdopen(told, "rb") as pipe,
    ):
        for fd in (wait, tell):
            os.close(fd)
        assert process.stdin is not None
        try:
            process.stdin.write(package.first() + launch_request(tmp_path, *started))
            process.stdin.flush()
            said = os.read(told, 100).split()
            assert said[0] == b"forked"
            if agent == "is killed":
                ended = os.pidfd_open(int(said[1]))
                os.kill(int(said[1]), signal.SIGKILL)
                assert select.select([ended], [], [], PATIENCE)[0]
                os.close(ended)
                os.write(go, b"!")
            process.stdin.close()
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()
            os.close(go)
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        assert ready, "the kernel's process waits"
        assert pipe.read1() == b"", "the kernel was started"
    if agent == "ends by itself":
        assert left_behind(tmp_path) == []
