"""Which machine this is, since when it runs, and which process a number means.

Both ends ask: the agent for its records, the client for its forwards' directories.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


def host_name() -> str:
    """This node's name, which tells the login nodes behind one alias apart."""
    return os.uname().nodename


def boot_id() -> str:
    """What changes when the host boots; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def start_time(pid: int) -> Optional[str]:
    """When process `pid` began, in the system's own terms: with the pid it names a process for
    good. None where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # A zombie is dead: in a container nobody may come to bury it.
        return None if fields[0] == b"Z" else fields[19].decode("ascii")
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)  # systems without /proc
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return "" if not os.path.isdir("/proc/self") else None
