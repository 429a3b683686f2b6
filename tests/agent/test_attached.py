"""What an agent attaches to: a connection file that somebody else has written."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sshpyk.agent.attached import AttachedKernel, AttachedPlan
from sshpyk.agent.boot import Failed

PORTS = {f"{name}_port": 5000 + n for n, name in enumerate(("shell", "iopub", "stdin", "control"))}
GOOD = {**PORTS, "hb_port": 6000, "ip": "0.0.0.0", "transport": "tcp", "key": "k"}


def plan(tmp_path: Path, content: Any) -> AttachedPlan:
    origin = tmp_path / "kernel-1.json"
    origin.write_text(content if isinstance(content, str) else json.dumps(content))
    request = {"kernel_name": "python3", "connection_file": str(origin)}
    return AttachedPlan(request, str(tmp_path), str(tmp_path))


def test_where_the_kernel_is(tmp_path: Path) -> None:
    found = plan(tmp_path, GOOD)
    assert found.addresses["hb"] == ("127.0.0.1", 6000)
    copy = tmp_path / "connection.json"
    assert json.loads(copy.read_text())["key"] == "k"
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    found = plan(tmp_path, {**GOOD, "transport": "ipc", "ip": "/run/kernel"})
    assert found.addresses["shell"] == "/run/kernel-5000"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        {**GOOD, "hb_port": "6000"},
        {**GOOD, "hb_port": -1},
        {**GOOD, "curve_publickey": "x"},
    ],
)
def test_what_is_no_connection_file(tmp_path: Path, content: Any) -> None:
    with pytest.raises(Failed) as caught:
        plan(tmp_path, content)
    assert caught.value.fields["error"] == "not-attachable"
    assert not (tmp_path / "connection.json").exists()


def test_one_that_is_not_there(tmp_path: Path) -> None:
    request = {"kernel_name": "x", "connection_file": str(tmp_path / "none.json")}
    with pytest.raises(Failed, match="not-attachable"):
        AttachedPlan(request, str(tmp_path), str(tmp_path))


LISTEN = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens")
def test_a_kernel_that_is_held_up(tmp_path: Path) -> None:
    """By what can't be kept; in the end it is let go on, for it is not ours."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", LISTEN]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            content = {**GOOD, "shell_port": int(process.stdout.readline())}
            origin = tmp_path / "kernel-1.json"
            origin.write_text(json.dumps(content))
            request = {"kernel_name": "python3", "connection_file": str(origin)}
            kernel = AttachedKernel(request, str(tmp_path), str(tmp_path))
            for again in (signal.SIGCONT, signal.SIGTERM):
                kernel.signal(signal.SIGSTOP)
                # The parent is told of both: nothing is to be waited for twice.
                assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
                assert kernel.exited is None
                kernel.signal(again)
                assert os.WIFCONTINUED(os.waitpid(process.pid, os.WCONTINUED)[1])
            assert kernel.reap()
        finally:
            process.stdin.close()
        assert process.wait() == 0, "no signal of ours ends it"
