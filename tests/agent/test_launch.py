"""A launch whose connection falls silent half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
