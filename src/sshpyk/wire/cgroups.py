"""What Linux's files say of memory: cgroups of both versions, and the whole machine. Pure.

`directories` finds a process's cgroup and those above it from the texts of /proc/PID/cgroup and
/proc/self/mountinfo; the other functions read one file's text each. Sizes are in bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

#: The files of a cgroup, by its version: processes of it that Linux has killed for want of memory,
#: what it may use, and what it uses now. Of several the first that is there: `memory.events` also
#: counts what is below, `.local` is Linux 5.2's. Not `memory.failcnt`, which counts each time that
#: the limit was met, and a cache that is full meets it all day.
KILLS = {1: ("memory.oom_control",), 2: ("memory.events.local", "memory.events")}
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
USED = {1: "memory.usage_in_bytes", 2: "memory.current"}

#: What that is made of; of version 2 what has happened, which Linux tells of as the file changes;
#: of version 1 where one asks to be told.
STAT, EVENTS, CONTROL = "memory.stat", "memory.events", "cgroup.event_control"

#: Parts of it that Linux has back when it needs memory, so that nobody lacks them.
_SPARE = {
    1: ("total_inactive_file", "total_active_file"),
    2: ("inactive_file", "active_file", "slab_reclaimable"),
}

#: Version 1 says "no limit" as the largest number of whole pages.
_UNLIMITED = 1 << 60


def directories(cgroup: str, mountinfo: str) -> Tuple[int, List[str]]:
    """The version, 1 or 2, and the directories of a process's cgroup for memory: its own first,
    then each one above it that can be seen. (0, []) where there is none."""
    version, path = _path(cgroup)
    for root, mount in _mounts(mountinfo, version):
        if root != "/":
            # A container sees its own cgroup, and perhaps its name, but nothing above.
            is_below = path == root or path.startswith(root + "/")
            path = path[len(root) :] if is_below else "/"
        names = [name for name in path.split("/") if name]
        if ".." in names:
            names = []
        found = ["/".join([mount.rstrip("/"), *names[:n]]) for n in range(len(names), -1, -1)]
        return version, found
    return 0, []


def _path(cgroup: str) -> Tuple[int, str]:
    unified = ""
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    return (2, unified) if unified else (0, "")


def _mounts(mountinfo: str, version: int) -> List[Tuple[str, str]]:
    """The root and the place of each mount of the cgroups of that version."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        is_memory = kind[0] == "cgroup" and "memory" in kind[2].split(",")
        if (version == 1 and is_memory) or (version == 2 and kind[0] == "cgroup2"):
            found.append((_unescape(fields[3]), _unescape(fields[4])))
    return found


def _unescape(path: str) -> str:
    """A path of mountinfo, which writes blanks and backslashes as \\040 and the like."""
    first, *others = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)


def kills(text: str) -> Optional[int]:
    """How many processes were killed for want of memory: of `KILLS`, and of /proc/vmstat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def limit(text: str) -> Optional[int]:
    """What a cgroup may use, of `LIMIT`; None where it has no limit."""
    text = text.strip()
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def held(used: str, stat: str, version: int) -> Optional[int]:
    """The bytes that a cgroup uses and Linux can't have back, of `USED` and `STAT`."""
    used = used.strip()
    if not used.isdigit():
        return None
    spare = 0
    for line in stat.splitlines():
        name, _, value = line.partition(" ")
        if name in _SPARE[version] and value.strip().isdigit():
            spare += int(value)
    return max(0, int(used) - spare)


def table(text: str) -> Dict[str, int]:
    """The sizes in /proc/meminfo, by their names."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if len(fields) == 2 and fields[0].isdigit() and fields[1] == "kB":
            found[name] = int(fields[0]) * 1024
    return found
