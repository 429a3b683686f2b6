"""What kernels and machines use: of real processes, and of programs that do not answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sshpyk.agent import usage
from sshpyk.agent.usage import Meter

#: Has 50 MB, which its five children share, and says when all are there.
SHARES = """
import os, sys
kept = bytearray(50_000_000)
kept[::4096] = b"x" * len(kept[::4096])
for _ in range(5):
    if not os.fork():
        break
print(flush=True)
sys.stdin.read()
"""


def test_what_several_processes_share_counts_once() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SHARES], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        for _ in range(6):
            process.stdout.readline()
        measured = Meter().measure([process.pid, 1 << 30])
    use = measured["uses"][process.pid]
    assert use["processes"] == use["threads"] == 6
    assert 50e6 < use["memory"] < 150e6
    assert measured["uses"][1 << 30] is None
    assert measured["machine"]["memory_total"] > use["memory"]


def test_a_program_that_hangs_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$1" >> "$0.asked"\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(usage, "ANSWER_WITHIN", 0.3)
    meter = Meter()
    for _ in range(2):
        assert meter.measure([])["gpus"] == []
    assert len((tmp_path / "nvidia-smi.asked").read_text().splitlines()) == 2
