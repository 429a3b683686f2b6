"""What kernels use: ps, ps --watch and top, with real processes and an nvidia-smi that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.lab.kernels import PATIENCE, facts_of, run_code, started, write_spec
from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd
from tests.lab.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.sshd

GIB = 1024**3

#: Stands in for nvidia-smi: one GPU, and a process on it whose pid is in a file beside it.
NVIDIA_SMI = """#!/bin/sh
case "$1" in
--query-gpu=index,name,utilization.gpu,memory.used,memory.total)
    echo "0, NVIDIA A100-SXM4-40GB, 35, 10240, 40960" ;;
--query-compute-apps=pid,used_gpu_memory) echo "$(cat "$0.pid"), 2048" ;;
*) exit 6 ;;
esac
"""

#: Has 100 MB, and a process in a session of its own that shares them and keeps a processor busy.
BUSY = """
import os
kept = bytearray(100_000_000)
kept[::4096] = b"x" * len(kept[::4096])
worker = os.fork()
if not worker:
    os.setsid()
    while True:
        pass
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Sshd]:
    """A host with something like a GPU."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "nvidia-smi").write_text(NVIDIA_SMI)
    (programs / "nvidia-smi").chmod(0o755)
    (programs / "nvidia-smi.pid").write_text("0")
    home = tmp_path / "home"
    home.mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    with Sshd(home=home, environment={"PATH": path}, host="gpu") as sshd:
        yield sshd


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "sshpyk.cli", *words]


def test_what_kernels_use(host: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    for name in ("large", "small"):
        write_spec(name, host)
    with started("small") as (small, _), started("large") as (large, client):
        run_code(client, BUSY)
        pid = facts_of(large)["pid"]
        (tmp_path / "programs/nvidia-smi.pid").write_text(str(pid))

        by_pid = {row["pid"]: row for row in sshpyk("ps", "--json", "gpu").json}
        row, other = by_pid[pid], by_pid[facts_of(small)["pid"]]
        assert row["processes"] >= 2
        assert other["processes"] == 1
        assert row["threads"] > row["processes"]
        # The pages that both have count once.
        assert 100e6 < row["memory"] < 280e6
        assert 30e6 < other["memory"] < 150e6
        assert (row["gpu_memory"], other["gpu_memory"]) == (2 * GIB, None)
        assert row["gpus"] == [
            {
                "index": 0,
                "name": "NVIDIA A100-SXM4-40GB",
                "memory_used": 10 * GIB,
                "memory_total": 40 * GIB,
                "use": 0.35,
            }
        ]
        machine = row["machine"]
        assert machine["cpus"] == os.cpu_count()
        assert row["memory"] < machine["memory_used"] < machine["memory_total"]
        assert 0 < machine["cpu"] <= 1

        shown = sshpyk("ps", "gpu")
        assert "2.1 GB" in shown.out
        assert "gpu: GPU 0 NVIDIA A100-SXM4-40GB, 10.7 GB of 42.9 GB, 35%\n" in shown.err

        with Terminal(command("top", "gpu")) as terminal:
            terminal.match(rf"{row['id'][:8]} .* 2\.1 GB *\n.*{other['id'][:8]}")
            terminal.match(r"gpu: .* load .*\n.*gpu: GPU 0 NVIDIA")
            terminal.press(CTRL_C)
            assert terminal.end() == 0
            assert "interrupted" not in terminal.text

        watching = subprocess.Popen(
            command("ps", "--watch", "--json", "gpu"), stdout=subprocess.PIPE, text=True
        )
        assert watching.stdout is not None
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        assert {one["pid"] for one in first} == {one["pid"] for one in second} == set(by_pid)
        busiest = max(second, key=lambda one: one["cpu"])
        assert busiest["pid"] == pid
        assert 0.05 < busiest["cpu"] < 1.5  # the machine may have much else to do
        watching.stdout.close()  # nobody reads on: it ends by itself, and so does its job
        assert watching.wait(PATIENCE) == 0
        run_code(client, "os.kill(worker, 9); os.waitpid(worker, 0)")
    left = Leftovers(host, tmp_path / "home")
    deadline = time.monotonic() + PATIENCE
    while left.remote_processes() or left.local_processes():
        assert time.monotonic() < deadline, "a job stays though nobody watches"
        time.sleep(0.05)


def test_a_host_that_can_not_be_watched(host: Sshd, sshpyk: Call) -> None:
    result = sshpyk("top", "nowhere.invalid")
    assert result.status == 1
    assert "nowhere.invalid" in result.err
