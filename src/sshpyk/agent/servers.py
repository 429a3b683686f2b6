"""The job "servers": the Jupyter Servers of this user that run on this host, and what could start
one.

It gets "pid": of a server that was just started, which it waits for, or 0; "wanted", a directory,
empty for home; and "python", whose environment is looked into first. It answers {"servers",
"directory", "programs", "free", "is_root"}: of each server what its own file says, its token
included; the directory's real path, empty where there is none; paths of programs by their names;
and a port that is free.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import sys
import time

from . import records
from .boot import answer
from .inspect_pythons import environment_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

#: What starts a server: the first has most for a person.
PROGRAMS = ("jupyter-lab", "jupyter-notebook", "jupyter-server")

#: Seconds for a server that was started to be there, and between looks: it tells of itself by a
#: file alone.
PATIENCE = 60.0
LOOK = 0.1

#: Bytes of such a file.
LARGEST = 64 * 1024


def run(request: Dict[str, Any]) -> None:
    """Look, and answer."""
    pid = request["pid"]
    found = running()
    deadline = time.monotonic() + PATIENCE
    while pid and not any(server["pid"] == pid for server in found):
        if not is_there(pid) or time.monotonic() > deadline:
            break
        time.sleep(LOOK)
        found = running()
    programs = {} if pid else all_programs(request["python"])
    wanted = os.path.join(records.home(), os.path.expanduser(request["wanted"]))
    directory = os.path.realpath(wanted) if os.path.isdir(wanted) else ""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = sock.getsockname()[1]
    is_root = os.getuid() == 0
    answer(servers=found, directory=directory, programs=programs, free=free, is_root=is_root)


def running() -> List[Dict[str, Any]]:
    """The servers whose process is there, the latest first."""
    found = {}
    for directory in directories():
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name.startswith(("jpserver-", "nbserver-")) and name.endswith(".json"):
                path = os.path.join(directory, name)
                server = read(path)
                if server is not None and is_there(server["pid"]):
                    found[server["pid"]] = server
    return sorted(found.values(), key=lambda server: server["since"], reverse=True)


def directories() -> List[str]:
    """Where servers may tell of themselves: Jupyter's runtime directories."""
    env = os.environ
    data = os.path.join(env.get("XDG_DATA_HOME") or os.path.join(records.home(), ".local/share"))
    if sys.platform == "darwin":
        data = os.path.join(records.home(), "Library")
    places = [
        env.get("JUPYTER_RUNTIME_DIR"),
        env.get("JUPYTER_DATA_DIR") and os.path.join(env["JUPYTER_DATA_DIR"], "runtime"),
        os.path.join(data, "Jupyter" if sys.platform == "darwin" else "jupyter", "runtime"),
    ]
    return list(dict.fromkeys(place for place in places if place))


def read(path: str) -> Optional[Dict[str, Any]]:
    """What a server's file says; None where it is not one of ours, or not whole."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
                return None
            said = json.loads(file.read(LARGEST))
        return {
            "pid": int(said["pid"]),
            "port": int(said.get("port") or 0),
            "socket": str(said.get("sock") or ""),
            "base_url": str(said.get("base_url") or "/"),
            "directory": os.path.realpath(said.get("root_dir") or said["notebook_dir"]),
            "token": str(said.get("token") or ""),
            "secure": bool(said.get("secure")),
            "since": status.st_mtime,
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_there(pid: int) -> bool:
    """Whether there is such a process of ours."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def all_programs(python: str) -> Dict[str, str]:
    """What starts a server: beside `python`, on the PATH, or on the PATH of a login shell."""
    own = os.path.dirname(shutil.which(python) or "")
    found = look_in(own) if own else {}
    if not found:
        found = look_in(os.environ.get("PATH", ""))
    if not found:
        env, _ = environment_after([], True)
        found = look_in((env or {}).get("PATH", ""))
    return found


def look_in(path: str) -> Dict[str, str]:
    """The programs in directories that are written as in PATH."""
    found = ((name, shutil.which(name, path=path)) for name in PROGRAMS)
    return {name: program for name, program in found if program}
