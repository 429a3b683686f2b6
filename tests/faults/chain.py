"""The processes between a client and its kernel, to send signals to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sshpyk.transport.jobs import FIRST_LINE
from tests.lab.kernels import STATE
from tests.lab.slurm import Slurm
from tests.lab.sshd import Sshd


class Chain:
    """The processes of the kernels that run on `server` below the home directory `home`.

    From the client to the kernel: "master", the ssh that is logged in; "program", what else of ssh
    runs here: a session of the master's, or a command that leads to the host; "session", sshd's
    processes and what runs in sessions; "relay", "agent", "kernel".
    """

    def __init__(self, server: Sshd, home: Path) -> None:
        self.server = server
        self.home = home

    def pids(self, part: str) -> list[int]:
        """The processes that are `part` at this moment."""
        if part in ("master", "program"):
            return self._ssh(is_master=part == "master")
        if part == "session":
            return tree(self.server.process.pid)[1:]
        if part == "relay":
            return self._relays()
        records = (self.home / STATE).glob("*/record.json")
        found = [json.loads(path.read_text()) for path in records]
        if part == "agent":
            return [record["agent_pid"] for record in found]
        return [record["kernel"]["pid"] for record in found]

    def send(self, part: str, signum: signal.Signals) -> int:
        """Send a signal to all of `part`; how many there were."""
        pids = self.pids(part)
        for pid in pids:
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                pids.remove(pid)
        return len(pids)

    def _relays(self) -> list[int]:
        """Our programs in sessions: nothing else of ours runs there once a kernel has started.
        The shells that wait for one have the same words, and others before them."""
        return _ours(tree(self.server.process.pid))

    def _ssh(self, *, is_master: bool) -> list[int]:
        """The ssh processes whose configuration file is our server's: masters have no session."""
        return [
            pid
            for pid, _, command in _processes()
            if os.path.basename(command.split()[0]) == "ssh"
            and str(self.server.ssh_config) in command
            and (" -N " in command) == is_master
        ]


class CarriedChain(Chain):
    """The same for the kernels of a Jupyter Server, whose process has the id `server`: "helper" is
    the helper kernel there."""

    def __init__(self, server: int, home: Path) -> None:
        self.root = server
        self.home = home

    def pids(self, part: str) -> list[int]:
        if part not in ("helper", "kernel", "relay"):
            return super().pids(part)
        ids = [path.parent.name for path in (self.home / STATE).glob("*/record.json")]
        kernels = {pid: command for pid, of, command in _processes() if of == self.root}
        carried = [pid for pid, command in kernels.items() if any(id in command for id in ids)]
        helpers = [pid for pid in kernels if pid not in carried]
        if part == "kernel":
            return carried
        if part == "helper":
            return helpers
        return _ours([child for pid in helpers for child in tree(pid)[1:]])


class ScheduledChain(Chain):
    """The same for kernels in jobs of `slurm`, before which `server` is the login node: "session"
    has the srun that carries, too; "relay" runs in the job."""

    def __init__(self, server: Sshd, slurm: Slurm, home: Path) -> None:
        super().__init__(server, home)
        self.slurm = slurm

    def _relays(self) -> list[int]:
        return [pid for pid in _ours(self.slurm.processes()) if pid not in self.pids("agent")]


def _ours(pids: list[int]) -> list[int]:
    """Those of `pids` that are programs of ours, which travelled there."""
    return [
        pid
        for pid, _, command in _processes()
        if pid in pids and FIRST_LINE in command and command.startswith(sys.executable)
    ]


def _processes() -> list[tuple[int, int, str]]:
    """Each process's id, its parent's, and its command line."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    ).stdout
    rows = (line.split(None, 2) for line in listing.splitlines())
    return [(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]


def tree(pid: int) -> list[int]:
    """`pid` and what it has started, as far as that is still its child."""
    found = [pid]
    processes = _processes()
    for parent in found:  # grows meanwhile
        found += [child for child, of, _ in processes if of == parent]
    return found
