"""How a kernel's process ended, in words, from what its agent knows of it. Pure.

An exit (`sshpyk.wire.requests.Exit`) has a wait status, the kernel's last stderr, and perhaps a
"cause": what the host knows, by its kind. What is not known is said to be unknown.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional

# The kinds of causes.
MEMORY = "memory"  # killed for want of memory
KILLED = "killed"  # by SIGKILL; "kills" is how many processes beside it were killed for that
OURS = "ours"  # by a signal that its agent sent
SHUTDOWN = "shutdown"  # the host is being shut down
FAULT = "fault"  # "where" is the library in which it did what it must not


def amount(value: object) -> str:
    """A shape (`sshpyk.wire.shapes`): a size in bytes, or a count."""
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
    return "" if is_one else "is no amount"


def words(value: object) -> str:
    """A shape: a few words of one line."""
    return "" if isinstance(value, str) and len(value) <= 300 else "is no short text"


#: The shape of a cause. "used" is the most that the kernel's process used, "limit" what it may use,
#: and "machine" whether that is all there is, rather than a share.
CAUSE = {
    "kind": words,
    "used?": amount,
    "limit?": amount,
    "machine?": bool,
    "kills?": amount,
    "where?": words,
}

SIGKILL, SIGTERM = 9, 15

#: Signals by their numbers, which are the same on Linux and macOS.
_NAMES = {
    2: "an interrupt",
    3: "quit",
    4: "an illegal instruction",
    6: "it aborted",
    8: "an arithmetic error",
    9: "killed",
    11: "a segmentation fault",
    15: "terminated",
    24: "its share of processor time is used up, see `ulimit -t`",
    25: "a file beyond the size that is allowed, see `ulimit -f`",
}

#: Those of a process that did what it must not.
FAULTS = (4, 6, 7, 8, 10, 11)


def signal_of(exited: Mapping[str, Any]) -> Optional[int]:
    """The signal by which it ended; a shell that was around it tells that as 128 and the signal."""
    signum, code = exited.get("signum"), exited.get("code")
    if signum is None and isinstance(code, int) and 128 < code < 160:
        return code - 128
    return None if signum is None else int(signum)


def describe(exited: Mapping[str, Any]) -> str:
    """How it ended, for people: what may follow "The kernel ended: "."""
    how = _explain(exited)
    note = exited.get("note")
    if not note:
        return how
    return f"{how}{';' if ': ' in how else ':'} {note}"


def _explain(exited: Mapping[str, Any]) -> str:
    cause = exited.get("cause") or {}
    kind = cause.get("kind")
    signum = signal_of(exited)
    if signum is None:
        code = exited.get("code")
        return "nobody saw how" if code is None else f"exit status {code}"
    if kind == MEMORY:
        used = _use(cause)
        return "killed for want of memory" + (f": {used}" if used else "")
    if kind == OURS:
        return f"ended by its agent (signal {signum})"
    if kind == SHUTDOWN:
        return f"ended by the shutdown of the host (signal {signum})"
    name = _NAMES.get(signum, "")
    how = f"{name} (signal {signum})" if name else f"signal {signum}"
    if kind == KILLED:
        return f"{how}, {_unknown(cause)}"
    if signum in (SIGKILL, SIGTERM):
        return f"{how}, nobody knows by whom"
    if signum in FAULTS:
        library = cause.get("where")
        return how + (f" in {library}" if library else place(str(exited.get("stderr", ""))))
    return how


def _unknown(cause: Mapping[str, Any]) -> str:
    """What is known of a process that was killed, where that is not by whom."""
    kills = cause.get("kills")
    if kills is None:
        return "nobody knows by whom"
    if not kills:
        return "nobody knows by whom: not by Linux for want of memory"
    count = "a process" if kills == 1 else f"{kills} processes"
    used = _use(cause)
    return (
        f"perhaps for want of memory: since it started Linux has killed {count} for that, and does "
        "not say which" + (f"; {used}" if used else "")
    )


def _use(cause: Mapping[str, Any]) -> str:
    used, limit = cause.get("used"), cause.get("limit")
    if not used:
        return ""
    if not limit:
        return f"it used {size(used)}"
    return f"it used {share(cause)}"


def share(of: Mapping[str, Any]) -> str:
    """The bytes "used" of a "limit", and whether that is all that the "machine" has."""
    whose = "that the host has" if of.get("machine") else "that the host allows it"
    return f"{size(of['used'])} of the {size(of['limit'])} {whose}"


def place(stderr: str) -> str:
    """Where Python's faulthandler saw a fault, as " in LIBRARY" or " at line …"; empty if it said
    nothing. Python 3.14 tells the C libraries, those before it only the lines of Python."""
    after = stderr.rpartition("Fatal Python error: ")[2] if "Fatal Python error: " in stderr else ""
    lines = after.splitlines()
    for line in lines:
        _, found, rest = line.partition('Binary file "')
        path = rest.partition('"')[0]
        if found and not _is_python(path):
            return f" in {path}"
    is_current = False
    for line in lines:
        if is_current and line.startswith('  File "'):
            path, _, where = line[8:].partition('", line ')
            number, _, function = where.partition(" in ")
            return f" at line {number} of {path} ({function})"
        is_current = line.startswith("Current thread ")
    return ""


def _is_python(path: str) -> bool:
    """Whether a file is Python itself, or what everything stands on."""
    name = path.rpartition("/")[2]
    return name.startswith(("python", "libpython", "libc.", "libc-", "libpthread", "ld-", "linux-"))


def size(count: float) -> str:
    """A number of bytes, in the unit that suits it."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"
