"""Lines of /proc, in the forms of proc(5), and kernels' trees of processes."""

from __future__ import annotations

from sshpyk.wire import procfs
from sshpyk.wire.procfs import Process

STAT = (
    b"%d (a) (b c) S %d %d %d 0 -1 4194304 900 0 0 0 %d 50 0 0 20 0 7 0 3600 211880000 1000 "
    b"18446744073709551615 1 1 0 0 0 0\n"
)


def process(pid: int, parent: int, session: int, ticks: int = 100) -> Process:
    return Process(STAT % (pid, parent, session, session, ticks))


def test_a_process() -> None:
    one = process(10, 1, 10)
    assert (one.parent, one.session, one.ticks, one.threads) == (1, 10, 150, 7)
    assert (one.began, one.pages) == (3600, 1000)


def test_the_processes_of_a_kernel() -> None:
    table = {
        1: process(1, 0, 1),
        10: process(10, 1, 10),  # a kernel
        11: process(11, 10, 10),
        12: process(12, 11, 12),  # a worker in a session of its own, and what it started
        13: process(13, 12, 12),
        14: process(14, 1, 10),  # whose parent has ended
        20: process(20, 10, 20),  # a kernel that the first has started
        30: process(30, 1, 30),
    }
    assert procfs.trees(table, [10, 20, 99]) == {10: [10, 11, 12, 13, 14], 20: [20], 99: []}
    loop = {1: process(1, 2, 1), 2: process(2, 1, 2)}
    assert procfs.trees(loop, [3]) == {3: []}


def test_ticks_since() -> None:
    now = process(10, 1, 10, ticks=170)
    assert procfs.ticks_since(process(10, 1, 10), now) == 70
    assert procfs.ticks_since(None, now) == 220
    another = process(10, 1, 10)
    another.began = 1
    assert procfs.ticks_since(another, now) == 220


def test_texts() -> None:
    rollup = "55a-7ff ---p 0 00:00 0 [rollup]\nRss:    9000 kB\nPss:    4096 kB\nPss_Dirty: 9 kB\n"
    assert procfs.pss(rollup) == 4096 * 1024
    assert procfs.pss("") is None
    stat = "cpu  100 10 50 800 40 0 5 5 70 0\ncpu0 1 1 1 1 1 0 0 0 0 0\n"
    assert procfs.processors(stat) == (170, 1010)
    assert procfs.processors("") == (0, 0)
