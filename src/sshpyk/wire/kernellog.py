"""What Linux writes into its log when it kills a process, or one breaks its rules. Pure.

The lines are those of mm/oom_kill.c, arch/x86/mm/fault.c and arch/x86/kernel/traps.c.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple


def record(data: bytes) -> Tuple[float, str]:
    """A record of /dev/kmsg: when it was written, in seconds since the boot, and its line."""
    head, _, rest = data.decode("utf-8", "replace").partition(";")
    fields = head.split(",")
    is_time = len(fields) > 2 and fields[2].isdigit()
    return (int(fields[2]) / 1e6 if is_time else 0.0), rest.partition("\n")[0]


def killed(lines: List[str], pid: int) -> Optional[Tuple[int, bool]]:
    """Whether process `pid` was killed for want of memory: the bytes that it used, and whether it
    was its cgroup's limit that was met. None where the log does not say so."""
    for line in reversed(lines):
        before, found, rest = line.partition(f"Killed process {pid} (")
        if found:
            return sum(map(_resident, rest.split())), "cgroup" in before
    return None


def _resident(field: str) -> int:
    name, _, size = field.rstrip(",").partition(":")
    # Not file-rss: what it maps of files is mostly counted elsewhere, and can be had back.
    is_size = name in ("anon-rss", "shmem-rss") and size.endswith("kB") and size[:-2].isdigit()
    return int(size[:-2]) * 1024 if is_size else 0


def faulty(lines: List[str], pid: int) -> str:
    """The program or library in which process `pid` did what it must not; empty if unknown."""
    for line in reversed(lines):
        if f"[{pid}]" in line and (": segfault at " in line or " ip:" in line):
            _, found, name = line.rpartition(" in ")
            if found:
                return name.partition("[")[0].strip()[:200]
    return ""
