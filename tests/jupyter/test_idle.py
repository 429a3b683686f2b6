"""An idle kernel costs nothing: under Jupyter Server's restarter no process is started for it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.jupyter.server import Server
from tests.lab.kernels import STATE, write_spec
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.usefixtures("clean")]

IDLE = 15.0  # seconds: five looks of the restarter's


def children(pid: int) -> tuple[int, list[str]]:
    """What tells whether `pid` starts a process: how many pages those needed that it started and
    has waited for (none needs none), and those that it has now."""
    stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return int(stat[8]), [pid for task in tasks for pid in (task / "children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's /proc tells")
def test_an_idle_kernel_starts_no_process(sshd: Sshd, tmp_path: Path, remote_home: Path) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{shlex.quote(str(calls))}\nexec {shutil.which("ssh")} "$@"\n'
    )
    program.chmod(0o700)
    write_spec("remote", sshd, ssh=str(program))
    with Server(tmp_path) as server:
        kernel = server.start_kernel("remote")
        with server.connect(kernel) as notebook:
            assert notebook.run("print(6 * 7)").text == "42\n"
            record = json.loads((remote_home / STATE / kernel / "record.json").read_text())
            watched = [server.pid, record["agent_pid"], record["kernel"]["pid"], sshd.process.pid]
            before = {pid: children(pid) for pid in watched}
            said = sshd.log.read_text()
            called = calls.read_text()
            time.sleep(IDLE)  # nothing is awaited: that nothing happens is what is tested
            assert {pid: children(pid) for pid in watched} == before
            assert calls.read_text() == called
            assert sshd.log.read_text() == said
            assert notebook.run("print(6 * 7)").text == "42\n"
        server.shut_down(kernel)
