"""Homes and temporary directories that can't be written, and full disks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sshpyk import errors
from tests.lab.kernels import STATE, run_code, started, write_spec
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd


def mounting(tmp_path: Path, mount: str) -> str:
    """A login shell that sees other file systems than we do; `mount` is shell, and knows $HOME.

    Skips the test where that is not allowed: what other tests here do works everywhere.
    """
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may not make mount namespaces")
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mount}; exec sh "$@"\' sh "$@"\n')
    shell.chmod(0o700)
    return str(shell)


@pytest.mark.parametrize("place", [".local", ".local/state/sshpyk/kernels"])
def test_a_file_in_the_way(server: Server, place: str) -> None:
    path = server.home / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    said = server.starting_fails(errors.RemoteError)
    assert said.startswith(f"sshd: {path}")
    path.unlink()


def test_a_home_that_is_not_there(new_server: NewServer, tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    # In /proc, because elsewhere root could make it.
    shell.write_text('#!/bin/sh\nHOME=/proc/nobody exec sh "$@"\n')
    shell.chmod(0o700)
    server = new_server(shell=str(shell))
    said = server.starting_fails(errors.NotWritable)
    assert said.startswith("sshd: /proc/nobody")
    assert "can't be written: No such file or directory." in said


def test_a_read_only_home(new_server: NewServer, tmp_path: Path) -> None:
    shell = mounting(tmp_path, "mount -t tmpfs -o ro none $HOME")
    server = new_server(shell=shell)
    said = server.starting_fails(errors.NotWritable)
    assert said.startswith(f"sshd: {server.home}/.local can't be written: Read-only file system.")
    assert "XDG_STATE_HOME" in said


def test_the_advice_for_such_homes_works(new_server: NewServer, tmp_path: Path) -> None:
    shell = mounting(tmp_path, "mount -t tmpfs -o ro none $HOME")
    elsewhere = tmp_path / "elsewhere"
    server = new_server(
        shell=shell, environment={"XDG_STATE_HOME": str(elsewhere), "IPYTHONDIR": str(elsewhere)}
    )
    write_spec("elsewhere", server)
    with started("elsewhere") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert list((elsewhere / "sshpyk" / "kernels").iterdir()) == []


def test_a_state_directory_of_somebody_else(server: Server, tmp_path: Path) -> None:
    place = server.home / STATE
    place.parent.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    place.symlink_to(tmp_path / "other")
    said = server.starting_fails(errors.NotPrivate)
    assert said.startswith(f"sshd: {place} is not a directory of yours alone")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_full_disk(new_server: NewServer, tmp_path: Path) -> None:
    fill = "mount -t tmpfs -o size=64k none $HOME; head -c 100000 /dev/zero >$HOME/full 2>/dev/null"
    server = new_server(shell=mounting(tmp_path, fill))
    said = server.starting_fails(errors.NotWritable)
    assert said.startswith(f"sshd: {server.home}/.local/state/sshpyk/kernels")
    assert "can't be written: No space left on device." in said
    assert "Make room there" in said


READ_ONLY_TMP = """
    mount -t tmpfs none /mnt; mkdir -p /mnt/{name}; mount --bind $HOME /mnt/{name}
    HOME=/mnt/{name}; export HOME; cd; mount --bind /tmp /tmp; mount -o remount,ro,bind /tmp"""


def test_a_tmp_that_is_read_only(new_server: NewServer, tmp_path: Path) -> None:
    shell = mounting(tmp_path, READ_ONLY_TMP.format(name="h"))
    server = new_server(shell=shell)
    write_spec("homely", server)
    with started("homely") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
        assert [path for path in server.home.iterdir() if "sshpyk" in path.name] != []
    assert [path for path in server.home.iterdir() if "sshpyk" in path.name] == []


def test_a_tmp_that_is_read_only_and_a_long_home(new_server: NewServer, tmp_path: Path) -> None:
    shell = mounting(tmp_path, READ_ONLY_TMP.format(name="h" * 60))
    server = new_server(shell=shell)
    said = server.starting_fails(errors.NotWritable)
    assert said.startswith("sshd: /tmp can't be written: Read-only file system.")


def test_nothing_that_is_kept_of_removed_files_has_a_key(server: Server, tmp_path: Path) -> None:
    """As NFS keeps what a process has open."""
    write_spec("brief", server)
    with started("brief") as (manager, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
        (directory,) = (server.home / STATE).iterdir()
        os.link(directory / "connection.json", tmp_path / "kept")
        assert manager.session.key.decode() in (tmp_path / "kept").read_text()
    server.leftovers.assert_clean()
    assert (tmp_path / "kept").read_bytes() == b""
