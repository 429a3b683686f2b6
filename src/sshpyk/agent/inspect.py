"""The job "inspect": look at the host, and change nothing on it.

It gets: "names", kernelspecs to look up as a launch would; "setup" and "login_shell", as for a
launch; "environments", whether to look for Python environments too. It answers with one object:
what the host is, "found" (each name's kernelspec, or the error), and, where environments were
asked for, "kernelspecs" and "environments", all there are; "logos" by their digests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time

from . import records
from .boot import Failed, answer
from .kernelspecs import KernelSpec, all_specs, directories, find, prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

#: Bytes of a logo, and of all logos, that come along: they are icons.
LARGEST_LOGO = 128 * 1024
MOST_LOGOS = 1024 * 1024


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


def describe(spec: KernelSpec, logos: Logos) -> Dict[str, Any]:
    """What a client needs to know of a kernelspec."""
    program = spec.argv[0]
    own = program in ("python", "python3", f"python3.{sys.version_info[1]}")
    path = sys.executable if own else shutil.which(program)
    kept = ("debugger", "supported_encryption")
    return {
        "name": spec.name,
        "directory": spec.directory,
        "display_name": spec.display_name,
        "language": spec.language,
        "interrupt_mode": spec.interrupt_mode,
        "argv": spec.argv,
        "program": path,
        "metadata": {key: spec.metadata[key] for key in kept if key in spec.metadata},
        "logos": logos.of(spec.directory),
    }


def everything(places: List[str], logos: Logos) -> List[Dict[str, Any]]:
    """The kernelspecs in `places`."""
    return [describe(spec, logos) for spec in all_specs(places).values()]


def kernelspec_places() -> List[str]:
    """Where a launch by this very Python would look."""
    return directories(dict(os.environ))


class Logos:
    """Icons, each only once: `content` maps digests to base64."""

    def __init__(self) -> None:
        self.content: Dict[str, str] = {}
        self._room = MOST_LOGOS

    def of(self, directory: str) -> Dict[str, str]:
        """The icons of the kernelspec in `directory`: file names and digests."""
        import base64
        import hashlib

        found = {}
        try:
            names = sorted(os.listdir(directory or "/nowhere"))
        except OSError:
            return {}
        for name in names:
            if not (name.startswith("logo-") and name.endswith((".png", ".svg"))):
                continue
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    data = file.read(LARGEST_LOGO + 1)
            except OSError:
                continue
            digest = hashlib.sha256(data).hexdigest()
            if digest not in self.content:
                if len(data) > min(LARGEST_LOGO, self._room):
                    continue
                self._room -= len(data)
                self.content[digest] = base64.b64encode(data).decode("ascii")
            found[name] = digest
        return found
