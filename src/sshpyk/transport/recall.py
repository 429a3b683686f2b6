"""How the agents of a host were reached last, for processes that come later: a file for each host.

It lies beside the control sockets, and so goes with the session or the boot as those do.
"""

from __future__ import annotations

import contextlib
import os
import time

from ..private import runtime_directory

SUFFIX = ".way"

#: What an agent is reached by (`Transport.family`), in words.
WORDS = {
    "unix": "forwards of unix sockets",
    "tcp": "forwards of loopback ports, for unix sockets are refused",
    "relay": "one ssh session for all kernels, for forwards are refused",
}

#: Seconds for which it is believed that a host refuses something. Then one start finds out anew.
BELIEVED = 24 * 3600.0


def remember(host: str, family: str) -> None:
    """Agents of `host`, the name of its master, are reached by `family`."""
    with contextlib.suppress(OSError):  # the next process finds it out by itself
        path = _path(host)
        with open(f"{path}.{os.getpid()}", "w", encoding="ascii") as file:
            file.write(family)
        os.replace(file.name, path)


def recall(host: str) -> tuple[str, float]:
    """By what agents of `host` were reached last, and for how many seconds more to believe it;
    empty where nobody knows."""
    try:
        with open(_path(host), encoding="ascii") as file:
            family = file.read(8)
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError):
        return "", 0.0
    return (family, BELIEVED - max(0.0, age)) if family in WORDS else ("", 0.0)


def forget(host: str) -> None:
    """What was remembered does not hold."""
    with contextlib.suppress(OSError):
        os.unlink(_path(host))


def _path(host: str) -> str:
    return os.path.join(runtime_directory(), host + SUFFIX)
