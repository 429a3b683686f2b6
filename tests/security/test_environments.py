"""Odd environments on the host: each works, or says clearly what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from tests.lab.kernels import STATE, left_behind, run_code, started, write_spec
from tests.lab.sshd import Sshd
from tests.security.conftest import Intruder

pytestmark = pytest.mark.sshd


@pytest.fixture(scope="module", autouse=True)
def own_runtime(open_directory: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(open_directory))
        yield


def wrapped(directory: Path, script: str) -> str:
    """A `remote_python` that runs `script` (sh), which ends by running "$@", Python itself."""
    path = directory / "python3"
    path.write_text(f'#!/bin/sh\nset -- {sys.executable} "$@"\n{script}\n')
    path.chmod(0o755)
    return str(path)


def can_mount() -> bool:
    """Whether there can be mounts of a test's own here."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


mounts = pytest.mark.skipif(not can_mount(), reason="a mount of the test's own takes root")

SHELLS = {
    "no HOME": 'unset HOME; exec "$@"',
    "an empty HOME": 'HOME= exec "$@"',
    "a locale that is not UTF-8": 'LC_ALL=C LANG=C PYTHONUTF8=0 exec "$@"',
    "a locale that is not there": 'LC_ALL=xx_XX.KOI8-R exec "$@"',
    "no PATH": 'unset PATH; exec "$@"',
    "no environment": 'exec /usr/bin/env -i "HOME=$HOME" "$@"',
    "a TMPDIR that is not there": 'TMPDIR=/nonexistent exec "$@"',
    "an XDG_RUNTIME_DIR that is not there": 'XDG_RUNTIME_DIR=/nonexistent exec "$@"',
    "a kind umask": 'umask 0; exec "$@"',
    "few files": 'ulimit -n 256; exec "$@"',
}


@pytest.mark.parametrize("name", SHELLS)
def test_odd_shells_work(sshd: Sshd, tmp_path: Path, name: str) -> None:
    script = SHELLS[name]
    if "HOME" in name:  # the account's own home is found then; the records must not go there
        state = tmp_path / "state"
        script = f"XDG_STATE_HOME={state}; export XDG_STATE_HOME; {script}"
    write_spec("odd", sshd, remote_python=wrapped(tmp_path, script), remote_kernel_name="",
               spec={"argv": [sys.executable, "-m", "ipykernel_launcher", "-f",
                              "{connection_file}"]})  # fmt: skip
    with started("odd") as (_, client):
        assert run_code(client, "print('Grüße', '☃')") == "Grüße ☃\n"


@pytest.mark.parametrize("offset", ["-20y", "+10y"])
def test_clocks_years_off_work(sshd: Sshd, remote_home: Path, tmp_path: Path, offset: str) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("there is no libfaketime here (apt-get install faketime)")
    script = f'FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1 LD_PRELOAD={library} exec "$@"'
    # The agent's clock is off; libfaketime and libzmq don't get along in one process.
    kernel = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": ["env", "-u", "LD_PRELOAD", *kernel]}
    python = wrapped(tmp_path, script)
    write_spec("clock", sshd, remote_python=python, remote_kernel_name="", spec=spec)
    before = left_behind(remote_home)
    with started("clock") as (manager, client):
        (name,) = [name for name in left_behind(remote_home) if name not in before]
        record = json.loads((remote_home / STATE / name / "record.json").read_text())
        assert abs(record["started_at"] - time.time()) > 5 * 365 * 86400, "the clock is not off"
        manager.restart_kernel()
        client.wait_for_ready(timeout=60)
        assert run_code(client, "print(1)") == "1\n"
    assert left_behind(remote_home) == before


@mounts
def test_noexec_tmp_works(sshd: Sshd, tmp_path: Path) -> None:
    prefix = sys.prefix  # our own Python may be in /tmp, and stays
    mount = f"mount --bind {prefix} {prefix} && mount --rbind /tmp /tmp"
    mount += " && mount -o remount,bind,noexec /tmp"
    script = f'exec unshare -m sh -c \'{mount} && exec "$@"\' sh "$@"'
    write_spec("noexec", sshd, remote_python=wrapped(tmp_path, script))
    with started("noexec") as (_, client):
        code = "import os; print(bool(os.statvfs('/tmp').f_flag & os.ST_NOEXEC))"
        assert run_code(client, code) == "True\n"


@mounts
def test_a_read_only_home_is_named_and_can_be_left_out(
    sshd: Sshd, remote_home: Path, tmp_path: Path
) -> None:
    mount = f"mount --bind {remote_home} {remote_home} && mount -o remount,bind,ro {remote_home}"
    script = f'exec unshare -m sh -c \'{mount} && exec "$@"\' sh "$@"'
    write_spec("readonly", sshd, remote_python=wrapped(tmp_path, script))
    with pytest.raises(errors.NotWritable) as caught:
        KernelManager(kernel_name="readonly").start_kernel()
    assert "Read-only file system" in str(caught.value)
    assert "XDG_STATE_HOME" in str(caught.value), "the next step"
    script = f"export XDG_STATE_HOME={tmp_path}/state; {script}"
    write_spec("readonly", sshd, remote_python=wrapped(tmp_path, script))
    with started("readonly") as (_, client):
        assert run_code(client, "print(1)") == "1\n"


HIDEPID = """
import os, sys
sys.path.insert(0, sys.argv[1])
from sshpyk.agent import records
from sshpyk.common import peers, processes
assert not os.path.exists("/proc/1"), "hidepid does not hide"
me = {"host": processes.host_name(), "boot_id": processes.boot_id(), "agent_pid": os.getpid(),
      "agent_start": processes.start_time(os.getpid())}
assert me["agent_start"]
assert records.is_alive(me) is True
assert records.is_alive(dict(me, agent_pid=1)) is False
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
assert not peers.is_stranger(listener.accept()[0])
print("well")
"""


@mounts
def test_hidepid_works(intruder: Intruder, open_directory: Path) -> None:
    """As a plain user, who sees no process of others: root is never hidden from."""

    package = Path(errors.__file__).parent
    copy = open_directory / "copy" / "sshpyk"
    for name in ("agent", "common", "wire"):
        shutil.copytree(package / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").write_text("")
    command = ["setpriv", f"--reuid={intruder.uid}", f"--regid={intruder.gid}", "--clear-groups"]
    script = f'mount -o remount,hidepid=2 /proc && exec {" ".join(command)} "$@"'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", intruder.python, "-Ic", HIDEPID, copy.parent],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert result.stdout == "well\n", result.stderr
