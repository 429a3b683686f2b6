"""Lines of Linux's log; those of a death for want of memory are from a real one."""

from __future__ import annotations

from sshpyk.wire import kernellog

BY_LIMIT = (
    "Memory cgroup out of memory: Killed process 10291 (python3) total-vm:211880kB, "
    "anon-rss:65276kB, file-rss:3672kB, shmem-rss:0kB, UID:0 pgtables:192kB oom_score_adj:0"
)
OF_MACHINE = BY_LIMIT.replace("Memory cgroup out of memory", "Out of memory")
FAULT = (
    "python3[10291]: segfault at 0 ip 00007f1c5a3e81c0 sp 00007ffd0e3b6a08 error 4 in "
    "libopenblas.so.0[7f1c5a2f0000+155000] likely on CPU 1 (core 1, socket 0)"
)
TRAP = "traps: R[77] general protection fault ip:7f7a sp:7ffe error:0 in libR.so[7f7a+1a000]"


def test_who_was_killed() -> None:
    used = 65276 * 1024
    assert kernellog.killed(["other", BY_LIMIT], 10291) == (used, True)
    assert kernellog.killed([OF_MACHINE], 10291) == (used, False)
    assert kernellog.killed([BY_LIMIT], 1029) is None


def test_where_a_fault_was() -> None:
    assert kernellog.faulty([FAULT, TRAP], 10291) == "libopenblas.so.0"
    assert kernellog.faulty([FAULT, TRAP], 77) == "libR.so"
    assert kernellog.faulty([FAULT], 102) == ""
    assert kernellog.faulty(["python3[10291]: segfault at 0 ip 0 sp 0 error 14"], 10291) == ""


def test_a_record_of_kmsg() -> None:
    data = b"6,339,5140900,-;NET: Registered PF_INET\n SUBSYSTEM=net\n"
    assert kernellog.record(data) == (5.1409, "NET: Registered PF_INET")
    assert kernellog.record(b"nonsense") == (0.0, "")
