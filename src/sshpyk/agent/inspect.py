"""The job "inspect": look at the host, and change nothing on it.

It gets: "names", kernelspecs to look up as a launch would; "setup" and "login_shell", as for a
launch; "environments", whether to look for Python environments too; "pythons", paths of those that
are looked at wherever they are, or of their environments. It answers with one object:
what the host is, "found" (each name's kernelspec, or the error), and, where environments were
asked for, "kernelspecs" and "environments", all there are; "logos" by their digests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time

from . import forking, records
from .boot import Failed, answer
from .inspect_specs import Logos, describe
from .kernelspecs import find, prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict


def run(request: Dict[str, Any]) -> None:
    """Look, and answer."""
    logos = Logos()
    env = dict(os.environ)
    found: Dict[str, Any] = {}
    for name in request["names"]:
        try:
            found[name] = describe(find(name, env), logos)
        except Failed as failed:
            found[name] = failed.fields
    said = dict(host_facts(), found=found, logos=logos.content)
    if request.get("environments"):
        from . import inspect_pythons

        said.update(inspect_pythons.look(request, logos))
    answer(**said)


def host_facts() -> Dict[str, Any]:
    """What a person wants to know of a host before they trust it with a kernel."""
    system = os.uname()
    return {
        "python": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
        "prefix": prefix(),
        "system": " ".join((system.sysname, system.nodename, system.release, system.machine)),
        "home": records.home(),
        "shell": os.environ.get("SHELL", ""),
        "time": time.time(),
        "state": place(records.state_directory()),
        "tmp": place("/tmp"),
        "kills_processes": kills_processes(),
        "fork_servers": forking.describe_all(),
    }


def place(path: str) -> Dict[str, Any]:
    """A directory that a launch writes to: the part of it that is there, free bytes, may we?"""
    there = path
    while not os.path.lexists(there) and there != "/":
        there = os.path.dirname(there)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        free = -1
    writable = os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
    return {"path": path, "there": there, "free": free, "writable": writable}


def kills_processes() -> bool:
    """Whether systemd ends what a user leaves running at logout, this user included."""
    value = ""
    files = ["/etc/systemd/logind.conf"]
    for folder in ("/usr/lib/systemd/logind.conf.d", "/etc/systemd/logind.conf.d"):
        with contextlib.suppress(OSError):
            files += sorted(os.path.join(folder, name) for name in os.listdir(folder))
    for file in files:
        with contextlib.suppress(OSError), open(file, errors="replace") as lines:
            for line in lines:
                key, _, said = line.partition("=")
                if key.strip() == "KillUserProcesses":
                    value = said.strip().lower()
    if value not in ("yes", "true", "on", "1"):
        return False
    user = os.path.basename(records.home())
    return not os.path.exists(os.path.join("/var/lib/systemd/linger", user))
