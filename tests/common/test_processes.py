"""What the system says of processes, with /proc and without it, as on macOS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sshpyk.common import processes

#: No process has it: Linux's largest is 4194304.
NOBODY = 1 << 29


@pytest.fixture(params=["/proc", "ps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Answers come from /proc, or from the programs that are asked where there is none."""
    if request.param == "ps":
        monkeypatch.setattr(processes, "_PROC", "/nonexistent")
        monkeypatch.setattr(processes, "_own", {})
    return str(request.param)


def fake(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a program of that name before all others on PATH."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)


def test_a_process_is_known_by_its_start(way: str) -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        before = processes.start_time(child.pid)
        assert before
        assert processes.start_time(child.pid) == before
        assert processes.parent(child.pid) == os.getpid()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
        assert processes.start_time(child.pid) is None
        assert processes.parent(child.pid) is None
    assert processes.start_time(NOBODY) is None
    assert processes.start_time(os.getpid()) == processes.start_time(os.getpid()) != ""


def test_the_start_is_told_alike_whoever_asks(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getppid()
    before = processes.start_time(parent)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert processes.start_time(parent) == before


def test_what_is_not_told_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "_PROC", "/nonexistent")
    monkeypatch.setattr(processes, "_own", {})
    fake(tmp_path, monkeypatch, "ps", "echo 'ps: Operation not permitted' >&2; exit 1")
    fake(tmp_path, monkeypatch, "sysctl", "exit 1")
    assert processes.start_time(os.getpid()) == ""
    assert processes.parent(os.getpid()) == 0
    assert processes.start_time(NOBODY) is None
    assert processes.boot_id() == ""
    assert processes.pid_namespace() == ""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert processes.start_time(os.getpid()) == ""


def test_macos_names_its_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "_PROC", "/nonexistent")
    script = '[ "$*" = "-n kern.bootsessionuuid" ] && echo 4E9D7B6C-8C1B-4F56-9D5A-1B2C3D4E5F60'
    fake(tmp_path, monkeypatch, "sysctl", script)
    assert processes.boot_id() == "4E9D7B6C-8C1B-4F56-9D5A-1B2C3D4E5F60"


LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
print("listening", flush=True)
sys.stdin.read()
"""


def test_who_listens_is_the_systems_word(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert processes.listener(path) is None
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        assert processes.listener(path) == child.pid
        # It never answers; more wait for it than the system lets.
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(path)
        assert processes.listener(path) in (0, child.pid)
        child.kill()
        child.wait()
        for sock in waiting:
            sock.close()
    assert processes.listener(path) is None, "the file is still there"
