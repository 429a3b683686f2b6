"""Memory that is almost full: when it is looked at, and what Linux tells by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sshpyk.agent.evidence import Evidence
from sshpyk.agent.loop import Loop
from sshpyk.agent.memory import Memory
from sshpyk.wire import cgroups
from tests.agent.test_evidence import LIMITS, Host
from tests.lab.kernels import PATIENCE
from tests.lab.memory import limited, unified

MB = 10**6


class Driver:
    """A loop that runs until something is so, and what it was told of memory."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.loop = Loop(self._tick, lambda: pytest.fail("a defect"))
        self._memory: Memory | None = None
        self._is_enough: Callable[[], bool] = lambda: True

    def watch(self, evidence: Evidence) -> Memory:
        self._memory = Memory(self.loop, evidence, self._changed)
        self._memory.look()
        return self._memory

    def _changed(self) -> None:
        assert self._memory is not None
        self.told.append(self._memory.short is not None)

    def _tick(self, now: float) -> float | None:
        assert self._memory is not None
        deadline = self._memory.tick(now)
        if self._is_enough() or now > self._end:
            self.loop.running = False
        return min(self._end, deadline or self._end)

    def until(self, is_enough: Callable[[], bool]) -> None:
        """Run until then; nothing but events has it look at that."""
        self._is_enough, self._end = is_enough, self.loop.now() + PATIENCE
        self.loop.running = True
        self.loop.run()
        assert is_enough()


def use(host: Host, used: int, cache: int) -> None:
    """So many MB are in use, and so many of these are a cache."""
    prefix = "total_" if host.version == 1 else ""
    host.write("cg/me/job/" + cgroups.USED[host.version], f"{used * MB}\n")
    lines = f"{prefix}inactive_file {cache * MB}\n{prefix}active_file {MB}\nother {70 * MB}\n"
    host.write("cg/me/job/memory.stat", lines)


@pytest.mark.parametrize("version", [1, 2])
def test_it_is_told_once_and_ends(tmp_path: Path, version: int) -> None:
    host = Host(tmp_path, version)
    host.write("cg/me/job/" + LIMITS[version], f"{100 * MB}\n")
    use(host, 99, 50)  # a cache is no want
    driver = Driver()
    memory = driver.watch(host.evidence())
    assert driver.told == []
    for used, cache in [(95, 2), (96, 1), (93, 10), (91, 15)]:
        use(host, used, cache)
        memory.look()
    assert driver.told == [True, False]
    use(host, 98, 5)
    memory.look()
    assert memory.short == {"used": 92 * MB, "limit": 100 * MB, "machine": False}
    memory.close()


def test_the_machine_s_own(tmp_path: Path) -> None:
    host = Host(tmp_path, 2)
    host.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 50 kB\n")
    memory = Driver().watch(host.evidence())
    assert memory.short == {"used": 972_800, "limit": 1_024_000, "machine": True}
    assert Driver().watch(Evidence(7, str(tmp_path / "nothing"))).short is None


#: Takes memory when it is told to, then meets the limit by a cache, and gives all back.
TAKES = """
import os, sys
input()
taken = bytearray(60_000_000)
taken[::4096] = b"x" * len(taken[::4096])
with open(sys.argv[1], "wb") as file:
    for _ in range(20):
        file.write(bytes(1_000_000))
        os.fdatasync(file.fileno())
input()
del taken
input()
"""


def test_linux_tells_of_a_real_limit() -> None:
    # Not in /tmp: where that is in memory itself its files are no cache.
    with limited(64_000_000) as group, tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        words = [sys.executable, "-c", TAKES, os.path.join(directory, "file")]
        with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            (group / "cgroup.procs").write_text(str(process.pid))
            evidence = Evidence(process.pid)
            driver = Driver()
            memory = driver.watch(evidence)
            process.stdin.write("\n")
            process.stdin.flush()
            driver.until(lambda: driver.told == [True])
            assert memory.short is not None
            assert 57e6 < memory.short["used"] < memory.short["limit"] <= 64e6
            process.stdin.write("\n")
            process.stdin.flush()
            if evidence.version == 2:
                process.communicate("\n")
                memory.look()  # of room nobody tells there
            driver.until(lambda: driver.told == [True, False])
            memory.close()
            process.communicate("\n" if evidence.version == 1 else None)


def test_version_2_tells_by_a_file_that_changes(tmp_path: Path) -> None:
    """memory.events has the mechanism of all such files: that of a real one stands in for it, for
    the memory of a machine belongs to one version."""
    host = Host(tmp_path, 2)
    host.write("cg/me/job/" + LIMITS[2], f"{100 * MB}\n")
    use(host, 50, 1)
    with unified() as group:
        (tmp_path / "cg/me/job/memory.events").symlink_to(group / "cgroup.events")
        driver = Driver()
        memory = driver.watch(host.evidence())
        use(host, 95, 1)
        for told in ([True], [True, False], [True, False, True]):
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
                (group / "cgroup.procs").write_text(str(process.pid))
                driver.until(partial(told.__eq__, driver.told))
                use(host, 50 if told[-1] else 95, 1)
        memory.close()
