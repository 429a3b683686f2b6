"""Whose process a record means: a pid may be a stranger's by now, or of another container."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshpyk.agent import boot, jobs, records
from sshpyk.common import processes


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours, which nobody may signal."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        assert process.poll() is None, f"it was signalled: {process.returncode}"
        process.kill()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory as agents have them."""
    with tempfile.TemporaryDirectory(prefix="sshpyk-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Path(records.state_directory())


def record_of(pid: int, sockets: Path, **more: Any) -> dict[str, Any]:
    """The record of an agent that is process `pid`."""
    return {
        "id": "one",
        "host": processes.host_name(),
        "boot_id": processes.boot_id(),
        "agent_pid": pid,
        "agent_start": processes.start_time(pid),
        "pid_namespace": processes.pid_namespace(),
        "sockets": str(sockets),
        "kernel": {"pid": pid, "interrupt_mode": "signal", "exited": None},
        **more,
    }


def keep(state: Path, record: dict[str, Any]) -> Path:
    """Put a record where it is looked for."""
    directory = state / str(record["id"])
    directory.mkdir(parents=True)
    records.write(str(directory / records.RECORD), record)
    return directory


@contextlib.contextmanager
def listening(sockets: Path) -> Iterator[None]:
    """This process listens as an agent does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sockets / records.STATUS))
        listener.listen()
        yield


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system say when no process began."""
    monkeypatch.setattr(processes, "_PROC", "/nonexistent")
    monkeypatch.setattr(processes, "_output", lambda *words: "")
    monkeypatch.setattr(processes, "_own", {})


def test_a_strangers_pid_is_no_agent(stranger: subprocess.Popen[bytes], sockets: Path) -> None:
    record = record_of(stranger.pid, sockets, agent_start="earlier")
    assert records.is_alive(record) is False
    assert records.agent_pid(record) is None


def test_where_no_start_is_known_the_agent_is_asked(
    stranger: subprocess.Popen[bytes], sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch)
    record = record_of(stranger.pid, sockets)
    assert record["agent_start"] == ""
    assert records.is_alive(record) is False
    assert records.agent_pid(record) is None
    with listening(sockets):
        assert records.is_alive(record) is True
        assert records.agent_pid(record) == os.getpid(), "whatever the record says"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"agent_start": ""}, ["no-kernel", "no-kernel"]),
        ({"pid_namespace": "pid:[1]"}, ["other-node", False]),
    ],
    ids=["start unknown", "another container"],
)
def test_nobody_is_signalled_by_a_pid_alone(
    state: Path,
    stranger: subprocess.Popen[bytes],
    sockets: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, str],
    expected: list[object],
) -> None:
    blind(monkeypatch)
    keep(state, record_of(stranger.pid, sockets, **more))
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(jobs, "answer", lambda **fields: answers.append(fields))
    for job in ("stop", "interrupt"):
        try:
            jobs.run({"do": job, "id": "one"})
        except boot.Failed as failed:
            answers.append(failed.fields)
    assert [answer.get("error", answer.get("done")) for answer in answers] == expected
    # The fixture sees that the stranger is well.


def test_a_kernels_pid_is_not_believed_either(
    state: Path,
    stranger: subprocess.Popen[bytes],
    sockets: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent could not write its record: the disk was full when the kernel ended."""
    with subprocess.Popen(["sleep", "1000"]) as agent:
        kernel = {"pid": stranger.pid, "interrupt_mode": "signal", "exited": None}
        keep(state, record_of(agent.pid, sockets, kernel=kernel))
        answers: list[dict[str, Any]] = []
        monkeypatch.setattr(jobs, "answer", lambda **fields: answers.append(fields))
        jobs.run({"do": "interrupt", "id": "one"})
        assert answers == [{"done": False}], "so a client asks the agent"
        agent.kill()


def test_another_containers_agent_is_not_swept_away(state: Path, sockets: Path) -> None:
    directory = keep(state, record_of(1 << 29, sockets, pid_namespace="pid:[1]"))
    assert records.all_records() != []
    records.sweep()
    assert directory.is_dir()
    assert sockets.is_dir()


ELSEWHERE = """
import sys
from sshpyk.agent import records
record = records.read(sys.argv[1])
assert records.is_elsewhere(record)
print(records.is_alive(record), records.agent_pid(record))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode != 0,
    reason="a pid namespace of the test's own takes root",
)
def test_a_real_container(state: Path, sockets: Path) -> None:
    path = keep(state, record_of(os.getpid(), sockets)) / records.RECORD
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", ELSEWHERE]
    with listening(sockets):
        done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.stdout == "True None\n", done.stderr
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    assert done.stdout == "None None\n", done.stderr


SECRETS = (records.CONNECTION, records.RECORD, "kernel.log")


def filled(state: Path, record: dict[str, Any]) -> Path:
    """A kernel's directory as an agent leaves it when it is killed."""
    directory = keep(state, record)
    for name in SECRETS:
        if name != records.RECORD:
            (directory / name).write_text("a secret")
    return directory


def test_what_is_removed_is_emptied_first(state: Path, sockets: Path, tmp_path: Path) -> None:
    directory = filled(state, record_of(1 << 29, sockets))
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in SECRETS:
        os.link(directory / name, kept / name)
    (tmp_path / "elsewhere").write_text("whose name is not ours")
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(directory / "pipe")  # opened for writing, it would wait for a reader
    records.remove(str(directory))
    assert not directory.exists()
    assert [(kept / name).read_bytes() for name in SECRETS] == [b"", b"", b""]
    assert (tmp_path / "elsewhere").read_text() == "whose name is not ours"


def test_nfs_keeps_no_secrets_and_is_swept_later(
    state: Path, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS gives a file that is open another name in place of removing it."""
    directory = filled(state, record_of(1 << 29, sockets))
    unlink = os.unlink

    def silly(path: str) -> None:
        os.rename(path, os.path.join(os.path.dirname(path), f".nfs{os.urandom(8).hex()}"))

    monkeypatch.setattr(os, "unlink", silly)
    records.sweep()
    left = sorted(directory.iterdir())
    assert len(left) == len(SECRETS)
    assert [path.read_bytes() for path in left] == [b"", b"", b""]
    monkeypatch.setattr(os, "unlink", unlink)
    records.sweep()
    assert directory.exists(), "it could be a launch that has just begun"
    os.utime(directory, (0, 0))
    records.sweep()
    assert not directory.exists()
    assert [word["id"] for word in records.all_ended()] == ["one"], "told once"


def test_a_directory_with_a_record_is_not_abandoned(state: Path, sockets: Path) -> None:
    directory = filled(state, record_of(os.getpid(), sockets))
    os.utime(directory, (0, 0))
    records.sweep()
    (directory / records.RECORD).write_bytes(b"torn")  # by a disk that is full, or not ours to read
    os.utime(directory, (0, 0))
    records.sweep()
    assert directory.exists()
