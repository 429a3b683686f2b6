"""Which machine this is, since when it runs, and which process a number means.

Both ends ask: the agent for its records, the client for its forwards' directories. Linux answers
in /proc; elsewhere (macOS) `ps` and `sysctl` do, which are there and take 5 ms.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Tuple

_PROC = "/proc"

#: `ps` would otherwise tell times in the language and the zone of whoever asks.
_PLAIN = {"LC_ALL": "C", "TZ": "UTC"}

#: What does not change while this process runs: its own start, by its pid.
_own: Dict[int, str] = {}


def host_name() -> str:
    """This node's name, which tells the login nodes behind one alias apart."""
    return os.uname().nodename


def boot_id() -> str:
    """What changes when the host boots, and at no other time; empty where the system does not say.

    The time of the boot would not do: it moves when the clock is set.
    """
    try:
        with open(f"{_PROC}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        pass
    for program in ("sysctl", "/usr/sbin/sysctl"):
        said = _output(program, "-n", "kern.bootsessionuuid")
        if said:
            return said
    return ""


def pid_namespace() -> str:
    """What tells apart the containers of one host, in which a pid means different processes; empty
    where the system has none."""
    try:
        return os.readlink(f"{_PROC}/self/ns/pid")
    except OSError:
        return ""


def place() -> str:
    """What tells apart the containers of one host, and each from itself after a restart; empty
    where the system has none, or does not say."""
    namespace = pid_namespace()
    first = namespace and start_time(1)
    return f"{namespace} {first}" if first else ""


def start_time(pid: int) -> Optional[str]:
    """When process `pid` began, in the system's own terms: with the pid it names a process for
    good. None where there is no such process, empty where the system does not say."""
    if pid in _own and pid == os.getpid():
        return _own[pid]
    found = _look(pid)
    if found is None:
        return None
    if pid == os.getpid():
        _own[pid] = found[0]
    return found[0]


def parent(pid: int) -> Optional[int]:
    """The process that has started `pid`. None where there is no such process, 0 if unknown."""
    found = _look(pid)
    return None if found is None else found[1]


def listener(path: str) -> Optional[int]:
    """The process of this user that listens at the unix socket `path`, by the system's word.

    None where nobody does; 0 where somebody does and the system does not say who: it is in another
    container, or of another user.
    """
    import _socket
    import struct

    sock = _socket.socket(_socket.AF_UNIX)
    try:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except BlockingIOError:
            return 0  # it has more to do than it can
        except OSError:
            return None
        try:
            if hasattr(_socket, "SO_PEERCRED"):
                data = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
                pid, uid, _ = struct.unpack("=3i", data)
                return pid if uid == os.getuid() else 0
            # macOS: LOCAL_PEERPID at SOL_LOCAL (sys/un.h), which Python has no names for.
            return sock.getsockopt(0, 2)
        except OSError:
            return 0
    finally:
        sock.close()


def _look(pid: int) -> Optional[Tuple[str, int]]:
    """When a process began, and its parent; ("", 0) if unknown, None where it is not there."""
    if os.path.isdir(f"{_PROC}/self"):
        try:
            with open(f"{_PROC}/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            # A zombie is dead: in a container nobody may come to bury it.
            return None if fields[0] == b"Z" else (fields[19].decode("ascii"), int(fields[1]))
        except (OSError, IndexError):
            return None
    said = _output("ps", "-o", "stat=", "-o", "ppid=", "-o", "lstart=", "-p", str(pid)).split()
    if len(said) > 2 and said[1].isdigit():
        return None if said[0].startswith("Z") else (" ".join(said[2:]), int(said[1]))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is there, and not ours
    return "", 0


def _output(program: str, *arguments: str) -> str:
    """What a program prints; empty where it can't be run. `subprocess` is not imported for it."""
    reader, writer = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        environment = {**os.environ, **_PLAIN}
        pid = os.posix_spawnp(program, [program, *arguments], environment, file_actions=actions)
    except OSError:
        os.close(reader)
        return ""
    finally:
        os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said.decode("utf-8", "replace").strip()
