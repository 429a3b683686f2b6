"""What the host knows of why a kernel's process ended.

Linux counts the processes of a cgroup that it has killed for want of memory. Before a kernel has
run any code the count is read, and once more when it has ended; nothing is read in between. Where
we may read Linux's log it names the process.
"""

from __future__ import annotations

import os
import time

from ..wire import cgroups, exits, kernellog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

    Cause = Dict[str, Any]

#: The inode of the first pid namespace (PROC_PID_INIT_INO), whose pids are those of Linux's log.
FIRST_NAMESPACE = "pid:[4026531836]"

#: Records of Linux's log that are looked at: as many as its usual size holds, several times over.
MOST_RECORDS = 20_000

#: A process with this share of all memory that its cgroup may use is the one to be killed there.
MOST = 0.5

#: Seconds before the time of a scheduled shutdown when it has begun.
SOON = 10.0


class Evidence:
    """What the host has counted so far, of the process `pid`; `root` is the root of its files.

    `sent` are the signals that we have sent to it, and `version` is that of its cgroups.
    """

    def __init__(self, pid: int, root: str = "") -> None:
        self.sent: Set[int] = set()
        self._pid = pid
        self._root = root
        self._begun = time.monotonic()
        self._cgroup: Optional[str] = None
        self.look()

    def look(self) -> None:
        """Count anew where the process has moved to another cgroup, as `systemd-run` does it."""
        cgroup = self._read(f"/proc/{self._pid}/cgroup")
        if cgroup != self._cgroup:
            self._cgroup = cgroup
            mounts = self._read("/proc/self/mountinfo") if cgroup else ""
            self.version, self._places = cgroups.directories(cgroup, mounts)
            self._kills = self._count()

    def cause(self, exited: Dict[str, Any]) -> Optional[Cause]:
        """What the host knows of the end of the process, as `exits.CAUSE`; None for nothing."""
        signum = exits.signal_of(exited)
        if signum is None:
            return None
        if signum in self.sent:
            return {"kind": exits.OURS}
        if signum == exits.SIGKILL:
            return self._killed(exited.get("peak"))
        if signum == exits.SIGTERM and self.is_shutting_down():
            return {"kind": exits.SHUTDOWN}
        if signum in exits.FAULTS:
            library = kernellog.faulty(self._log(), self._pid)
            return {"kind": exits.FAULT, "where": library} if library else None
        return None

    def _killed(self, peak: Optional[int]) -> Cause:
        limit, is_machine = self.limit()
        # What a process maps of files counts for whoever has read them first.
        used = min(peak, limit) if peak and limit else peak
        cause = {"kind": exits.MEMORY, "used": used, "limit": limit, "machine": is_machine}
        logged = kernellog.killed(self._log(), self._pid)
        if logged is not None:
            used, is_share = logged
            if not is_share:
                limit = self._memory()
            return dict(cause, used=used or peak, limit=limit, machine=not is_share)
        now = self._count()
        if None in (now, self._kills):
            kills = None
        else:
            kills = max(0, int(now or 0) - int(self._kills or 0))
        if kills and used and limit and used >= MOST * limit:
            return cause
        if not kills and self.is_shutting_down():
            return {"kind": exits.SHUTDOWN}
        return dict(cause, kind=exits.KILLED, kills=kills)

    def is_shutting_down(self) -> bool:
        """Whether the host says that it is being shut down. systemd says so of a shutdown that was
        scheduled; one that begins at once ends sessions before it is told in any file."""
        if self._read("/run/nologin").startswith("System is going down"):
            return True
        for line in self._read("/run/systemd/shutdown/scheduled").splitlines():
            name, _, value = line.partition("=")
            if name == "USEC" and value.isdigit():
                return int(value) / 1e6 <= time.time() + SOON
        return False

    def _count(self) -> Optional[int]:
        """Processes killed so far for want of memory: of the cgroup, else of the machine."""
        for directory in self._places[:1]:
            for name in cgroups.KILLS[self.version]:
                found = cgroups.kills(self._read(f"{directory}/{name}"))
                if found is not None:
                    return found
        return cgroups.kills(self._read("/proc/vmstat"))

    def limit(self) -> Tuple[Optional[int], bool]:
        """The memory that the process may use, and whether that is all of the machine's."""
        directory, least = self.least()
        return least, not directory

    def least(self) -> Tuple[str, Optional[int]]:
        """The cgroup whose limit is met first, empty for the machine's memory, and that limit."""
        where, least = "", self._memory()
        for directory in self._places:
            limit = cgroups.limit(self._read(f"{directory}/{cgroups.LIMIT[self.version]}"))
            if limit is not None and (least is None or limit < least):
                where, least = directory, limit
        return where, least

    def used(self, directory: str) -> Optional[int]:
        """The bytes in use of a cgroup, or of the machine's, but for what can be had back."""
        if directory:
            used = self._read(f"{directory}/{cgroups.USED[self.version]}")
            return cgroups.held(used, self._read(f"{directory}/{cgroups.STAT}"), self.version)
        sizes = cgroups.table(self._read("/proc/meminfo"))
        total, free = sizes.get("MemTotal"), sizes.get("MemAvailable")
        return None if total is None or free is None else max(0, total - free)

    def path(self, directory: str, name: str) -> str:
        """Where a file of a cgroup is."""
        return f"{self._root}{directory}/{name}"

    def _memory(self) -> Optional[int]:
        return cgroups.table(self._read("/proc/meminfo")).get("MemTotal")

    def _log(self) -> List[str]:
        """The lines that Linux has written since the process began, where we may read them."""
        try:
            if os.readlink("/proc/self/ns/pid") != FIRST_NAMESPACE:
                return []  # its pids are not ours
            log = os.open(self._root + "/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return []
        # The log's clock is not set, and may be off from ours by some seconds in a week.
        since = 0.999 * self._begun - 1.0
        lines = []
        try:
            for _ in range(MOST_RECORDS):
                try:
                    data = os.read(log, 8192)
                except BrokenPipeError:
                    continue  # what was next has been written over
                if not data:
                    break
                at, line = kernellog.record(data)
                if at >= since:
                    lines.append(line)
        except OSError:
            pass  # BlockingIOError: that was all
        finally:
            os.close(log)
        return lines

    def _read(self, path: str) -> str:
        try:
            with open(self._root + path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""
