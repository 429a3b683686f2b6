"""What a host knows of a death: its files of both cgroup versions, and a real limit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sshpyk.agent.evidence import Evidence
from tests.lab.memory import limited

GB = 10**9
KILLED: dict[str, Any] = {"signum": 9, "code": None, "peak": 61 * GB}

V1 = ("4:memory:/me/job\n", "40 32 0:36 / /cg rw - cgroup cgroup rw,memory\n")
V2 = ("0::/me/job\n", "30 23 0:26 / /cg rw - cgroup2 cgroup2 rw\n")

#: A host, by the version of its cgroups: the files of a cgroup, with {kills} and {limit}.
HOSTS = {
    1: (V1, {"memory.oom_control": "oom_kill_disable 0\noom_kill {kills}\n"}),
    2: (V2, {"memory.events.local": "oom 9\noom_kill {kills}\n"}),
}
LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}


class Host:
    """The files of a machine of 128 GB below `root`, whose process 7 is in a cgroup."""

    def __init__(self, root: Path, version: int) -> None:
        self.root, self.version = root, version
        (cgroup, mounts), self.files = HOSTS[version]
        self.write("proc/7/cgroup", cgroup)
        self.write("proc/self/mountinfo", mounts)
        self.write("proc/meminfo", f"MemTotal: {128 * GB // 1024} kB\n")
        self.write("cg/me/job/" + LIMITS[version], "max\n")
        self.count(3)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def count(self, kills: int) -> None:
        for name, text in self.files.items():
            self.write("cg/me/job/" + name, text.format(kills=kills))

    def evidence(self) -> Evidence:
        return Evidence(7, str(self.root))


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


def test_killed_by_the_limit_of_a_cgroup_above(host: Host) -> None:
    host.write("cg/me/" + LIMITS[host.version], f"{64 * GB}\n")
    evidence = host.evidence()
    host.count(4)
    limits = {"used": 61 * GB, "limit": 64 * GB, "machine": False}
    assert evidence.cause(KILLED) == {"kind": "memory", **limits}
    assert evidence.cause({**KILLED, "signum": None, "code": 137}) == {"kind": "memory", **limits}


def test_killed_beside_a_process_that_wanted_more(host: Host) -> None:
    evidence = host.evidence()
    host.count(4)
    cause = evidence.cause({**KILLED, "peak": GB})
    assert cause is not None
    assert (cause["kind"], cause["kills"], cause["machine"]) == ("killed", 1, True)


def test_killed_by_somebody(host: Host) -> None:
    cause = host.evidence().cause(KILLED)
    assert cause is not None
    assert (cause["kind"], cause["kills"]) == ("killed", 0)
    assert host.evidence().cause({**KILLED, "signum": 15}) is None


def test_killed_by_us(host: Host) -> None:
    evidence = host.evidence()
    evidence.sent.add(9)
    assert evidence.cause(KILLED) == {"kind": "ours"}


def test_a_process_that_moves_is_counted_anew(host: Host) -> None:
    evidence = host.evidence()
    host.write("proc/7/cgroup", HOSTS[host.version][0][0].replace("/job", ""))
    for name, text in host.files.items():
        host.write("cg/me/" + name, text.format(kills=0))
    evidence.look()
    host.count(9)
    cause = evidence.cause(KILLED)
    assert cause is not None
    assert cause["kills"] == 0


@pytest.mark.parametrize(
    ("path", "text", "is_down"),
    [
        ("run/nologin", "System is going down. Unprivileged users are not permitted", True),
        ("run/nologin", "System is booting up.", False),
        ("run/systemd/shutdown/scheduled", "USEC={now}\nWARN_WALL=1\nMODE=reboot\n", True),
        ("run/systemd/shutdown/scheduled", "USEC={later}\nMODE=reboot\n", False),
    ],
)
def test_a_shutdown(tmp_path: Path, path: str, text: str, is_down: bool) -> None:
    host = Host(tmp_path, 2)
    now = int(time.time())
    host.write(path, text.format(now=now * 10**6, later=(now + 600) * 10**6))
    expected = {"kind": "shutdown"} if is_down else None
    assert host.evidence().cause({"signum": 15, "code": None}) == expected


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    """macOS, for one."""
    cause = Evidence(7, str(tmp_path)).cause(KILLED)
    assert cause is not None
    assert (cause["kind"], cause["kills"], cause["limit"]) == ("killed", None, None)


#: Waits until it is in its cgroup, and then takes more memory than that allows.
GREEDY = "input(); taken = bytearray(200_000_000); taken[::4096] = b'x' * len(taken[::4096])"


@pytest.mark.parametrize("with_log", [True, False], ids=["log", "counts"])
def test_a_real_limit(with_log: bool, tmp_path: Path) -> None:
    root = ""
    if not with_log:  # as where only root may read it
        root = str(tmp_path)
        for name in ("proc", "sys"):
            (tmp_path / name).symlink_to("/" + name)
    with limited(60_000_000) as group:
        process = subprocess.Popen([sys.executable, "-c", GREEDY], stdin=subprocess.PIPE, text=True)
        (group / "cgroup.procs").write_text(str(process.pid))
        evidence = Evidence(process.pid, root)
        process.communicate("\n")
        assert process.returncode == -9
        cause = evidence.cause({"signum": 9, "code": None, "peak": 59_000_000})
    assert cause is not None
    assert (cause["kind"], cause["machine"]) == ("memory", False)
    assert 50e6 < cause["used"] < 80e6
    assert 59e6 < cause["limit"] <= 60e6
    if with_log and os.access("/dev/kmsg", os.R_OK):
        assert cause["used"] != 59_000_000, "the log has its own word for it"
