"""How kernels ended, in words."""

from __future__ import annotations

from typing import Any

import pytest

from sshpyk.wire import control, exits
from sshpyk.wire.shapes import fault

GB = 10**9

MEMORY = {"kind": "memory", "used": 61 * GB, "limit": 64 * GB, "machine": True}

WORDS: list[tuple[dict[str, Any], str]] = [
    ({"code": 3}, "exit status 3"),
    ({}, "nobody saw how"),
    ({"code": 97, "note": "the setup lines failed"}, "exit status 97: the setup lines failed"),
    (
        {"signum": 9, "cause": MEMORY},
        "killed for want of memory: it used 61.0 GB of the 64.0 GB that the host has",
    ),
    (
        {"code": 137, "cause": {**MEMORY, "machine": False}, "note": "its agent is gone"},
        "killed for want of memory: it used 61.0 GB of the 64.0 GB that the host allows it; "
        "its agent is gone",
    ),
    ({"signum": 9, "cause": {"kind": "memory"}}, "killed for want of memory"),
    ({"signum": 9}, "killed (signal 9), nobody knows by whom"),
    (
        {"signum": 9, "cause": {"kind": "killed", "kills": None}},
        "killed (signal 9), nobody knows by whom",
    ),
    (
        {"signum": 9, "cause": {**MEMORY, "kind": "killed", "kills": 0}},
        "killed (signal 9), nobody knows by whom: not by Linux for want of memory",
    ),
    (
        {"signum": 9, "cause": {"kind": "killed", "kills": 2, "used": GB, "limit": 9 * GB}},
        "killed (signal 9), perhaps for want of memory: since it started Linux has killed "
        "2 processes for that, and does not say which; it used 1.0 GB of the 9.0 GB that the host "
        "allows it",
    ),
    ({"signum": 9, "cause": {"kind": "ours"}}, "ended by its agent (signal 9)"),
    ({"signum": 15}, "terminated (signal 15), nobody knows by whom"),
    (
        {"signum": 15, "cause": {"kind": "shutdown"}},
        "ended by the shutdown of the host (signal 15)",
    ),
    ({"signum": 11}, "a segmentation fault (signal 11)"),
    (
        {"signum": 11, "cause": {"kind": "fault", "where": "libR.so"}},
        "a segmentation fault (signal 11) in libR.so",
    ),
    ({"signum": 24}, "its share of processor time is used up, see `ulimit -t` (signal 24)"),
    ({"signum": 40}, "signal 40"),
    ({"signum": 1, "cause": {"kind": "of a later version"}}, "signal 1"),
]


@pytest.mark.parametrize(("exited", "said"), WORDS, ids=[said[:60] for _, said in WORDS])
def test_words(exited: dict[str, Any], said: str) -> None:
    assert exits.describe(exited) == said


#: What Python 3.11 writes, with two threads, and what 3.14 adds.
FATAL = """\
[IPKernelApp] WARNING | something
Fatal Python error: Segmentation fault

Thread 0x00007f3b9b7fe6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait

Current thread 0x00007f3bb2d9a040 (most recent call first):
  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/tmp/ipykernel_1/1.py", line 2 in <module>

Extension modules: zmq.backend.cython._zmq (total: 1)
"""
C_STACK = """
Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3.14", at _Py_DumpStack+0x40 [0x5581]
  Binary file "/lib/x86_64-linux-gnu/libc.so.6", at +0x3c050 [0x7f3b]
  Binary file "/opt/lib/libopenblas.so.0", at dgemm_+0x20 [0x7f3c]
  Binary file "/usr/bin/python3.14", at <unknown> [0x5582]
"""


def test_where_a_fault_was() -> None:
    at = " at line 519 of /usr/lib/python3.11/ctypes/__init__.py (string_at)"
    assert exits.place(FATAL) == at
    assert exits.describe({"signum": 11, "stderr": FATAL}).endswith("(signal 11)" + at)
    assert exits.place(FATAL + C_STACK) == " in /opt/lib/libopenblas.so.0"
    assert exits.place("Current thread 0x1\n" + '  File "/a", line 1 in b') == ""
    assert exits.place("") == ""


def test_a_cause_is_looked_at_on_arrival() -> None:
    """A host may say what it likes; what is no amount would not even be a number that prints."""
    assert fault(MEMORY, exits.CAUSE, "it") == ""
    for wrong in ({}, {**MEMORY, "used": 10**400}, {**MEMORY, "limit": -1}, {"kind": "x" * 999}):
        assert fault(wrong, exits.CAUSE, "it")
    assert "cause?" in control.SHAPES["exited"]
