"""What Linux says of processes and processors in /proc. Pure: each function reads one file's text.

Only jobs need this, so it does not travel with a launch (`sshpyk.transport.package`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Tuple


class Process:
    """A line of /proc/PID/stat: its parent, session and threads; the ticks of processor that it has
    used and the tick when it began; and the pages of memory that it has."""

    def __init__(self, stat: bytes) -> None:
        # Its name, in brackets, may have blanks and brackets of its own.
        fields = stat.rpartition(b")")[2].split()
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.ticks = int(fields[11]) + int(fields[12])
        self.threads = int(fields[17])
        self.began = int(fields[19])
        self.pages = int(fields[21])


def trees(processes: Dict[int, Process], leaders: Iterable[int]) -> Dict[int, List[int]]:
    """The processes of each kernel, by the kernel's: its session, and whatever these have started,
    in a session of its own or not."""
    wanted = set(leaders)
    found: Dict[int, List[int]] = {leader: [] for leader in wanted}
    for pid in processes:
        at: Optional[int] = pid
        seen = set()
        while at in processes and at not in seen:
            seen.add(at)
            process = processes[at]
            leader = at if at in wanted else process.session
            if leader in wanted:
                found[leader].append(pid)
                break
            at = process.parent
    return found


def ticks_since(before: Optional[Process], now: Process) -> int:
    """The ticks that a process has used since it was looked at `before`, or since it began."""
    if before is None or before.began != now.began:
        return now.ticks
    return max(0, now.ticks - before.ticks)


def pss(smaps_rollup: str) -> Optional[int]:
    """The bytes of a process, with each page that several share divided among them."""
    for line in smaps_rollup.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "Pss:" and fields[1].isdigit():
            return int(fields[1]) * 1024
    return None


def processors(stat: str) -> Tuple[int, int]:
    """Of /proc/stat: the ticks of all processors that were used so far, and all that passed."""
    first = stat.partition("\n")[0].split()
    if len(first) < 6 or first[0] != "cpu":
        return 0, 0
    # user nice system idle iowait irq softirq steal; guests' are among the user's.
    ticks = [int(field) for field in first[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
