"""The spool is a store like the wire's `Memory`, whatever the disk does."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from sshpyk.agent import spool
from sshpyk.agent.spool import Limits, Spool
from sshpyk.wire.stream import Memory

#: Small ones, so that every boundary is met often.
SEGMENT, MEMORY, DISK = 1000, 1500, 6000

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 700)),
        st.tuples(st.just("release"), st.floats(0, 1)),
        st.tuples(st.just("read"), st.floats(0, 1)),
        st.tuples(st.just("disk"), st.sampled_from([0, 100, 1 << 30])),
        st.tuples(st.just("clear"), st.just(0)),
    ),
    max_size=80,
)


class Disk:
    """Takes `room` bytes, and then says that it is full, after a part like a real one."""

    def __init__(self) -> None:
        self.room = 1 << 30

    def pwrite(self, file: int, data: Any, offset: int) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size = min(len(data), self.room)
        self.room -= size
        return pwrite(file, data[:size], offset)


pwrite = os.pwrite


@given(STEPS, STEPS)
def test_what_goes_in_comes_out(one: list[Any], other: list[Any]) -> None:
    """Two spools share their limits, as the streams of an agent do."""
    disk = Disk()
    before = len(os.listdir("/dev/fd"))
    with (
        tempfile.TemporaryDirectory() as directory,
        mock.patch.object(spool, "SEGMENT", SEGMENT),
        mock.patch.object(os, "pwrite", disk.pwrite),
    ):
        limits = Limits(MEMORY, DISK, directory)
        stores = [(Spool(limits), Memory()), (Spool(limits), Memory())]
        steps = [(0, *step) for step in one] + [(1, *step) for step in other]
        for number, (which, what, value) in enumerate(steps):
            kept, model = stores[which]
            step(kept, model, disk, number, what, value)
            assert not os.listdir(directory), "a file with a name stays when the agent is killed"
            held = sum(kept.end - kept.start for kept, _ in stores)
            assert held <= limits.memory_used + limits.disk_used
            assert limits.disk_used <= DISK
        for kept, _ in stores:
            kept.clear()
        assert (limits.memory_used, limits.disk_used) == (0, 0)
        assert len(os.listdir("/dev/fd")) == before, "a file is still open"


def step(kept: Spool, model: Memory, disk: Disk, number: int, what: str, value: Any) -> None:
    if what == "append":
        data = bytes([number % 251]) * value
        kept.append(data)
        model.append(data)
    elif what == "disk":
        disk.room = value
    elif what == "clear":
        kept.clear()
        model.clear()
    else:
        position = model.start + int(value * (model.end - model.start))
        if what == "release":
            kept.release(position)
            model.release(position)
    assert (kept.start, kept.end) == (model.start, model.end)
    assert read(kept) == read(model)


def read(store: Spool | Memory) -> bytes:
    data = b""
    while store.start + len(data) < store.end:
        piece = store.read(store.start + len(data), 333)
        assert 0 < len(piece) <= 333
        data += piece
    return data


def test_only_a_full_disk_holds_back(tmp_path: object) -> None:
    limits = Limits(MEMORY, DISK, str(tmp_path))
    kept = Spool(limits)
    while not limits.full:
        kept.append(b"x" * 100)
        assert kept.end - kept.start <= MEMORY + DISK + 100
    assert limits.trouble
    assert kept.end - kept.start >= MEMORY + DISK - 100
    kept.clear()
    assert not limits.full


def test_a_file_that_drains_while_it_fills_does_not_grow(tmp_path: object) -> None:
    """A client that is only just too slow: what it has acknowledged must not stay on the disk."""
    with mock.patch.object(spool, "SEGMENT", SEGMENT):
        limits = Limits(0, 1 << 30, str(tmp_path))
        kept = Spool(limits)
        for _ in range(1000):
            kept.append(b"x" * 100)
            kept.release(max(0, kept.end - 250))
            assert limits.disk_used <= 3 * SEGMENT
