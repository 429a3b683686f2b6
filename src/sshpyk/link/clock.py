"""The clock that goes on while the machine sleeps."""

from __future__ import annotations

import sys
import time


def boot_time() -> float:
    """Seconds since some moment, the machine's sleep included where the system tells.

    Linux has CLOCK_BOOTTIME for it. On macOS `time.monotonic` stands still in sleep, and
    CLOCK_MONOTONIC, which stands still on Linux, does not (clock_gettime(3) there).
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()
