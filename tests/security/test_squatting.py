"""What others plant in /tmp, where ours would be: directories, links, files and sockets."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.agent import boot, records
from sshpyk.common import peers, processes
from sshpyk.jupyter.local import LocalSockets
from sshpyk.private import runtime_directory
from sshpyk.wire.channels import CHANNELS
from tests.security.conftest import Intruder

PLANT = """
import os, socket, sys
kind, path = sys.argv[1:]
if kind == "directory":
    os.mkdir(path, 0o777)
elif kind == "private directory":
    os.mkdir(path, 0o700)
elif kind == "link":
    os.symlink("/var", path)
elif kind == "dangling link":
    os.symlink(path + "-target", path)
elif kind == "socket":
    socket.socket(socket.AF_UNIX).bind(path)
else:
    open(path, "w")
os.chmod(path, 0o777, follow_symlinks=False) if "link" not in kind and " " not in kind else None
"""

KINDS = ("directory", "private directory", "link", "dangling link", "socket", "file")


@pytest.fixture
def shared() -> Path:
    """A directory as /tmp is: open to all, sticky."""
    path = Path("/tmp") / f"shared-{os.urandom(4).hex()}"
    path.mkdir()
    path.chmod(0o1777)
    return path


@pytest.fixture(autouse=True)
def remove(shared: Path) -> object:
    yield
    shutil.rmtree(shared)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_runtime_directory_is_not_used(
    intruder: Intruder, shared: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Here: the place of control sockets and forwards."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    intruder.run(PLANT, kind, shared / "sshpyk")
    chosen = runtime_directory()
    assert not chosen.startswith(str(shared))
    status = os.lstat(chosen)
    assert stat.S_ISDIR(status.st_mode)
    assert (status.st_uid, status.st_mode & 0o777) == (os.getuid(), 0o700)


def test_no_private_directory_at_all_is_an_error(
    intruder: Intruder, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    monkeypatch.setenv("HOME", str(shared / "home"))
    monkeypatch.setattr("sshpyk.private.os.getuid", lambda: 4_000_000)  # nobody's directories
    with pytest.raises(errors.SettingsError, match="Set XDG_RUNTIME_DIR to one"):
        runtime_directory()


def test_a_directory_of_ours_that_others_may_enter_is_not_used(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    (shared / "sshpyk").mkdir()
    (shared / "sshpyk").chmod(0o711)
    assert not runtime_directory().startswith(str(shared))


@pytest.mark.parametrize("kind", KINDS)
def test_the_agents_sockets_are_never_where_something_was(
    intruder: Intruder, shared: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """On the host: even one who guesses the name gains nothing."""
    numbers = iter([b"\1" * 6, b"\2" * 6])
    monkeypatch.setattr("sshpyk.agent.records.os.urandom", lambda size: next(numbers))
    guessed = Path("/tmp/sshpyk-" + (b"\1" * 6).hex())
    monkeypatch.setenv("TMPDIR", str(shared))
    intruder.run(PLANT, kind, guessed)
    try:
        chosen = records.make_sockets_directory()
    finally:
        guessed.rmdir() if kind.endswith("directory") else guessed.unlink()
    assert Path(chosen).parent == shared
    status = os.lstat(chosen)
    assert (status.st_uid, status.st_mode & 0o777) == (os.getuid(), 0o700)


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_state_directory_is_refused(
    intruder: Intruder, shared: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(shared))
    (shared / "sshpyk").mkdir()
    (shared / "sshpyk").chmod(0o1777)
    intruder.run(PLANT, kind, shared / "sshpyk" / "kernels")
    with pytest.raises(boot.Failed) as caught:
        records.make_directory("some-kernel")
    assert caught.value.fields["error"] in ("not-private", "not-writable")
    assert caught.value.fields["path"] == str(shared / "sshpyk" / "kernels")


def test_a_state_directory_of_ours_is_closed_again(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(shared))
    (shared / "sshpyk" / "kernels").mkdir(parents=True)
    (shared / "sshpyk" / "kernels").chmod(0o755)
    made = records.make_directory("some-kernel")
    assert os.stat(shared / "sshpyk" / "kernels").st_mode & 0o777 == 0o700
    assert os.stat(made).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", KINDS)
def test_planted_ipc_sockets_are_passed_over(intruder: Intruder, shared: Path, kind: str) -> None:
    intruder.run(PLANT, kind, shared / "kernel-1")
    local = LocalSockets("ipc", str(shared / "kernel"), dict.fromkeys(CHANNELS, 0))
    try:
        assert 1 not in local.ports.values()
        for port in local.ports.values():
            status = os.lstat(f"{shared}/kernel-{port}")
            assert (status.st_uid, stat.S_ISSOCK(status.st_mode)) == (os.getuid(), True)
            assert status.st_mode & 0o777 == 0o600
    finally:
        local.close()
    assert os.path.lexists(shared / "kernel-1"), "what is not ours was removed"


def test_a_planted_ipc_socket_of_a_fixed_number_is_named(intruder: Intruder, shared: Path) -> None:
    intruder.run(PLANT, "socket", shared / "kernel-1")
    with pytest.raises(errors.SettingsError, match=r"shell socket can't be opened .* port 1"):
        LocalSockets("ipc", str(shared / "kernel"), dict(zip(CHANNELS, range(1, 6), strict=True)))


def test_an_ipc_socket_is_never_open_to_others(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between its making and the call that closes it, with the kindest umask."""
    monkeypatch.setattr("sshpyk.jupyter.local.os.chmod", lambda path, mode: None)
    old = os.umask(0)
    try:
        local = LocalSockets("ipc", str(shared / "kernel"), dict.fromkeys(CHANNELS, 0))
    finally:
        os.umask(old)
    modes = {os.lstat(f"{shared}/kernel-{port}").st_mode & 0o777 for port in local.ports.values()}
    local.close()
    assert modes == {0o600}


LISTEN = """
import socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def test_a_kernels_port_taken_by_another_user_is_noticed(intruder: Intruder) -> None:
    process = intruder.popen(LISTEN)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert peers.is_taken(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", 0)) as ours:
            assert not peers.is_taken(ours.getsockname())
    finally:
        process.communicate("", timeout=30)


def test_a_record_can_not_have_anything_else_removed(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged record names another directory as that of the sockets."""
    monkeypatch.setenv("XDG_STATE_HOME", str(shared / "state"))
    precious = shared / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years of work")
    (shared / "sshpyk-link").symlink_to(precious)
    for number, path in enumerate((precious, shared / "sshpyk-link")):
        directory = records.make_directory(f"dead-{number}")
        record = {"host": processes.host_name(), "boot_id": "another", "sockets": str(path)}
        records.write(os.path.join(directory, records.RECORD), record)
    records.sweep()
    assert (precious / "thesis").exists()
    assert not os.path.exists(os.path.join(records.state_directory(), "dead-0"))
