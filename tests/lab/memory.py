"""A real limit on memory: a cgroup of the test's own, where this user may make one."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.wire import cgroups

#: Where there is none: fixtures of both versions stand in for it.
REASON = "this user may not make cgroups"


@contextlib.contextmanager
def unified() -> Iterator[Path]:
    """The directory of a new cgroup of version 2, whatever controllers that has. Skips the test
    where none can be made."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, kind = line.partition(" - ")[0].split(), line.partition(" - ")[2].split()
        if kind[0] == "cgroup2":
            group = Path(fields[4]) / f"sshpyk-test-{uuid.uuid4().hex[:8]}"
            try:
                group.mkdir()
            except OSError:
                continue
            try:
                yield group
            finally:
                group.rmdir()
            return
    pytest.skip(REASON)


@contextlib.contextmanager
def limited(size: int) -> Iterator[Path]:
    """The directory of a cgroup whose processes may use `size` bytes; write a pid into its
    `cgroup.procs`. Skips the test where no such cgroup can be made."""
    cgroup = Path("/proc/self/cgroup").read_text()
    mounts = Path("/proc/self/mountinfo").read_text()
    version, parents = cgroups.directories(cgroup, mounts)
    for parent in parents:
        group = Path(parent) / f"sshpyk-test-{uuid.uuid4().hex[:8]}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            # Without the controller for memory the file is not there, and can't be made.
            fd = os.open(group / cgroups.LIMIT[version], os.O_WRONLY)
        except OSError:
            group.rmdir()
            continue
        with open(fd, "w") as file:
            file.write(str(size))
        try:
            yield group
        finally:
            group.rmdir()
        return
    pytest.skip(REASON)
