"""What is known of the kernels of this user on this host, on disk.

Each kernel has a directory ~/.local/state/sshpyk/kernels/ID (0700) with `record.json`, which names
the agent, its sockets and its token, and the connection file, the logs and the spool. Homes are
shared between the nodes of a cluster, so a record says on which host and in which boot it holds.
When a kernel has ended while no client was attached, or others may come back for it,
`ID.ended.json` says so for a week.
"""

from __future__ import annotations

import os
import stat
import time

from ..common.processes import boot_id, host_name, listener, pid_namespace, place, start_time
from ..wire.quickjson import dumps, loads
from .boot import Failed, answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    Record = Dict[str, Any]

#: Seconds for which words of what has ended stay, and directories without a record: those of
#: launches that have just begun have none.
KEEP_ENDED = 7 * 24 * 3600.0
KEEP_UNFINISHED = 24 * 3600.0

RECORD = "record.json"
ENDED = ".ended.json"
STATUS = "status.sock"
FORK = ".fork.json"
CONNECTION = "connection.json"

KEYS = ("key", "signature_scheme", "curve_publickey", "curve_secretkey")

#: How the directories of sockets begin, which are not beside the records.
SOCKETS = "sshpyk-"


def home() -> str:
    """The user's home directory, with or without $HOME."""
    path = os.path.expanduser("~")
    return path if os.path.isabs(path) else "/"


def state_directory() -> str:
    """Where the kernels' directories are."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(home(), ".local", "state")
    return os.path.join(base, "sshpyk", "kernels")


def forks_directory() -> str:
    """Where the records of fork servers are (`sshpyk.agent.forkserver`)."""
    return os.path.join(os.path.dirname(state_directory()), "forkservers")


def has_forks() -> bool:
    """Whether there may be a fork server."""
    try:
        return any(name.endswith(FORK) for name in os.listdir(forks_directory()))
    except OSError:
        return False


def make_directory(id: str) -> str:
    """The directory of a new kernel, private.

    Raises `Failed` "not-writable" with the path and the system's reason.
    """
    state = state_directory()
    path = os.path.join(state, id)
    try:
        os.makedirs(state, 0o700, exist_ok=True)
        require_private(state)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Failed("not-writable", path=error.filename or path, reason=error.strerror) from None
    return path


def make_sockets_directory() -> str:
    """A private directory with a short name: a socket's path holds 107 bytes, 103 on macOS.

    In /tmp if possible, for homes may be on a network and have long names. Not in
    $XDG_RUNTIME_DIR, which vanishes when the user logs out. The name is random and made anew, so
    nobody can have planted anything there. Raises `Failed` "not-writable".
    """
    temporary = os.environ.get("TMPDIR", "")
    for start in ("/tmp/", os.path.join(temporary, ""), os.path.join(home(), ".")):
        path = start + SOCKETS + os.urandom(6).hex()
        if os.path.isabs(path) and len(os.fsencode(path)) <= 80:
            try:
                os.mkdir(path, 0o700)
            except OSError as error:
                reason = error.strerror
            else:
                return path
    raise Failed("not-writable", path="/tmp", reason=reason)


def require_private(path: str) -> None:
    """Make sure that a directory is ours alone: no link, our owner, mode 0700.

    Raises `Failed` "not-private".
    """
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise Failed("not-private", path=path, owner=status.st_uid)
    if status.st_mode & 0o077:
        os.chmod(path, 0o700)


def write(path: str, record: Record) -> None:
    """Write JSON: readers see the old file or the new one, and only the owner sees either.

    Raises OSError.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(dumps(record))
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def read(path: str) -> Optional[Record]:
    """What `write` wrote, or None where there is nothing of the kind."""
    try:
        with open(path, "rb") as file:
            return parse(file.read())
    except OSError:
        return None


def parse(data: bytes) -> Optional[Record]:
    """The JSON object in `data`, or None where it is none."""
    try:
        record = loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def is_alive(record: Record) -> Optional[bool]:
    """Whether the agent of a record runs: None where only another node, or container, could tell.

    A pid alone proves nothing: it may be a stranger's by now.
    """
    if record.get("host") != host_name():
        return None
    boots = record.get("boot_id"), boot_id()
    if all(boots) and boots[0] != boots[1]:
        return False
    if not is_elsewhere(record):
        now, then = _start_times(record)
        if now is None:
            return False
        if now and then:
            return now == then
    if listener(_status_path(record)) is not None:
        return True
    # Another container may have a /tmp of its own.
    return None if is_elsewhere(record) else False


def agent_pid(record: Record) -> Optional[int]:
    """The process of the agent of a record, to be signalled. None unless it is certain."""
    if not is_elsewhere(record):
        now, then = _start_times(record)
        if now and now == then:
            return int(record["agent_pid"])
    return listener(_status_path(record)) or None


def is_elsewhere(record: Record) -> bool:
    """Whether the agent of a record is in another container of this host, where pids differ."""
    here = pid_namespace()
    return bool(record.get("pid_namespace", here) != here)


def _start_times(record: Record) -> Tuple[Optional[str], Optional[str]]:
    """When the process with the agent's pid began, and when the agent did."""
    pid = record.get("agent_pid")
    now = start_time(pid) if isinstance(pid, int) and pid > 0 else None
    return now, record.get("agent_start")


def _status_path(record: Record) -> str:
    return os.path.join(str(record.get("sockets")), STATUS)


def remove(directory: str) -> None:
    """Take away a directory of ours and the files in it.

    They are emptied first: on NFS a file that a process still has open, a stopped kernel perhaps,
    stays as .nfsXXXX, and there are keys in some. What stays there is for `sweep`.
    """
    try:
        # The record last: while it is there, whoever looks can finish what was begun.
        for name in sorted(os.listdir(directory), key=lambda name: name == RECORD):
            path = os.path.join(directory, name)
            empty(path)
            try:
                os.unlink(path)
            except OSError:
                pass
        os.rmdir(directory)
    except OSError:
        pass  # gone already, or not ours to mend


def empty(path: str) -> None:
    """Leave nothing in a file; links are not followed, and what is no file is left alone."""
    # Without O_NONBLOCK a pipe would be waited for.
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags)
    except OSError:
        return  # a link, a socket, or not ours
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):
            os.ftruncate(file, 0)
    except OSError:
        pass
    finally:
        os.close(file)


def write_ended(id: str, why: str, exited: Optional[Record]) -> None:
    """Write down how a kernel ended while no client was there, if the disk has room for it."""
    record = {"id": id, "why": why, "exited": exited, "at": time.time(), "host": host_name()}
    try:
        write(os.path.join(state_directory(), id + ENDED), record)
    except OSError:
        pass  # whoever asks is told that the agent is gone, which is true as well


#: What is kept of a kernel that has ended, beside the word of it, as ID.NAME.
KEPT = ("kernel.log", "agent.log", "outputs.jsonl")


def keep_files(id: str) -> None:
    """Keep the logs of a kernel that ends for those who come back for it."""
    state = state_directory()
    for name in KEPT:
        try:
            os.replace(os.path.join(state, id, name), os.path.join(state, f"{id}.{name}"))
        except OSError:
            pass  # there is none


def read_ended(id: str) -> Optional[Record]:
    """What `write_ended` left."""
    return read(os.path.join(state_directory(), os.path.basename(id) + ENDED))


def sweep() -> None:
    """Remove what dead agents left behind on this node, and words older than a week."""
    state = state_directory()
    try:
        names = os.listdir(state)
    except OSError:
        return
    for name in names:
        path = os.path.join(state, name)
        if name.endswith((ENDED, *KEPT)):
            try:
                if time.time() - os.stat(path).st_mtime > KEEP_ENDED:
                    os.unlink(path)
            except OSError:
                pass
            continue
        record = read(os.path.join(path, RECORD))
        if record is None:
            if is_abandoned(path):
                remove(path)
        elif is_alive(record) is False:
            bury(name, record, "its agent is gone")


def bury(id: str, record: Record, why: str) -> None:
    """Remove what the dead agent of a record left behind, and write down that it has ended."""
    write_ended(id, why, (record.get("kernel") or {}).get("exited"))
    sockets = str(record.get("sockets"))
    # Whatever a record says, only a directory that is called as ours are is emptied.
    name = os.path.basename(sockets).lstrip(".")
    if name.startswith(SOCKETS) and not os.path.islink(sockets):
        remove(sockets)
    remove(os.path.join(state_directory(), id))


def is_abandoned(directory: str) -> bool:
    """Whether a kernel's directory has been without a record for longer than a launch takes.

    It was half removed, on NFS, or its launch was cut off by a host that went down.
    """
    try:
        names = os.listdir(directory)
        age = time.time() - os.stat(directory).st_mtime
    except OSError:
        return False
    return RECORD not in names and age > KEEP_UNFINISHED


def all_ended() -> List[Record]:
    """What is known of kernels that have ended."""
    state = state_directory()
    try:
        names = sorted(os.listdir(state))
    except OSError:
        return []
    found = (read(os.path.join(state, name)) for name in names if name.endswith(ENDED))
    return [record for record in found if record is not None]


def all_records() -> List[Record]:
    """The records of all kernels whose agent is alive, or on another node."""
    state = state_directory()
    try:
        names = sorted(os.listdir(state))
    except OSError:
        return []
    found = (read(os.path.join(state, name, RECORD)) for name in names)
    return [record for record in found if record is not None and is_alive(record) is not False]


def find_session(name: str) -> Optional[Record]:
    """The record of the kernel of the session `name`, if there is one."""
    found = [record for record in all_records() if record.get("session") == name]
    return found[0] if found else None


def find(id: str) -> Optional[Record]:
    """The record of the agent `id`, if it may be there; what a dead one has left is removed."""
    record = read(os.path.join(state_directory(), os.path.basename(id), RECORD))
    if record is not None and is_alive(record) is False:
        bury(os.path.basename(id), record, "its agent is gone")
        return None
    return record


def keys(record: Record) -> Dict[str, str]:
    """The keys of a record's kernel, from its connection file."""
    path = os.path.join(state_directory(), os.path.basename(str(record["id"])), CONNECTION)
    connection = read(path) or {}
    return {name: connection[name] for name in KEYS if name in connection}


def run(request: Dict[str, Any]) -> None:
    """The job "probe": is the agent of the kernel `id` there, and if not, what became of it?

    Where the request names a `place`, that is the container in which it was, and this one has its
    name: if it is another, or was restarted, the agent has ended with it.
    """
    id = os.path.basename(request["id"])
    path = os.path.join(state_directory(), id, RECORD)
    record, was, now = read(path), request.get("place"), place()
    if record is not None and was and now and was != now and not is_alive(record):
        bury(id, record, "its container was restarted")
    sweep()
    record = read(path)
    answer(
        host=host_name(),
        boot_id=boot_id(),
        place=place(),
        record=record,
        alive=is_alive(record) if record is not None else False,
        ended=read_ended(id),
    )
