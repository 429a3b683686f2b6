"""What a start leaves behind on either side, as far as it belongs to one server and its home."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sshpyk.private import runtime_directory
from sshpyk.transport import recall
from tests.lab.forks import fork_servers
from tests.lab.kernels import left_behind
from tests.lab.sshd import Sshd

#: Where agents make the directories of their sockets, and how those are called.
TMP = Path("/tmp")
SOCKETS = re.compile(r"sshpyk-[0-9a-f]{12}")

#: Seconds for everything to be gone: an agent gives its kernel two, then kills it.
PATIENCE = 40.0


class Leftovers:
    """Looks for what was left since it was made; `home` is where the server's sessions live.

    The test should have an $XDG_RUNTIME_DIR of its own, else what other processes of this user
    keep there is found as well.
    """

    def __init__(self, server: Sshd, home: Path) -> None:
        self._server = server
        self._home = home
        self._before = set(_orphaned_sockets())

    def assert_clean(
        self,
        *,
        masters: int = 1,
        patience: float = PATIENCE,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Wait until nothing is left but at most so many masters, `patience` seconds at most; call
        `meanwhile` before each look."""
        deadline = time.monotonic() + patience
        while True:
            meanwhile()
            left = self.find(masters)
            if not left:
                return
            assert time.monotonic() < deadline, "left behind:\n" + "\n".join(left)
            time.sleep(0.05)  # no event tells that processes and files of others are gone

    def find(self, masters: int = 1) -> list[str]:
        """A line for everything that is left now, beyond so many masters."""
        found = [f"kernel directory {name}" for name in left_behind(self._home)]
        found += [f"sockets {path}" for path in set(_orphaned_sockets()) - self._before]
        found += [f"on the host: {process}" for process in self.remote_processes()]
        connected = self.masters()
        found += [f"master {name}" for name in connected[masters:]]
        found += [f"here: {process}" for process in self.local_processes()]
        directory = Path(runtime_directory())
        for path in sorted(directory.iterdir()):
            if path.is_dir():
                found.append(f"forwards {path}: {sorted(os.listdir(path))}")
            elif path.is_socket() and not _answers(path):
                found.append(f"control socket {path} of nobody")
            elif not path.is_socket() and path.suffix != recall.SUFFIX:
                found.append(f"file {path}")
        return found

    def remote_processes(self) -> list[str]:
        """What runs in the server's home: agents, kernels, and shells of sessions; reporters too,
        but not a fork server, which stays for a while by design."""
        home = b"HOME=" + os.fsencode(self._home)
        forks = {record["pid"] for record in fork_servers(self._home)}
        return [
            f"{pid} {title}"
            for pid, title, environment in _processes()
            if home in environment and pid not in (os.getpid(), *forks)
        ]

    def masters(self) -> list[str]:
        """The ssh masters that lead to the server: ours, and those of the user's configuration."""
        return [
            f"{pid} {title}"
            for pid, title, _ in _processes()
            if self._is_ssh(title, "-N")
            # What ControlPersist has put in the background says no more which server it is for.
            or (title.startswith("ssh: ") and title.endswith("[mux]") and self._is_peer(pid))
        ]

    def local_processes(self) -> list[str]:
        """Every other ssh to the server."""
        masters = self.masters()
        found = [f"{pid} {title}" for pid, title, _ in _processes() if self._is_ssh(title)]
        return [process for process in found if process not in masters]

    def _is_ssh(self, title: str, option: str = "") -> bool:
        program, *words = title.split(" ")
        is_ssh = program.rpartition("/")[2] == "ssh"
        return is_ssh and str(self._server.directory) in title and option in ["", *words]

    def _is_peer(self, pid: int) -> bool:
        ports = {self._server.port, self._server.sshd_port}
        return any(port in ports for port in _peer_ports(pid))


def _processes() -> Iterator[tuple[int, str, list[bytes]]]:
    """Pid, command line and environment of every process that can be seen."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            status = Path("/proc", name, "stat").read_bytes()
            command = Path("/proc", name, "cmdline").read_bytes()
            environment = Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or not ours
        if status.rpartition(b")")[2].split()[0] != b"Z":
            title = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
            yield int(name), title, environment.split(b"\0")


def _peer_ports(pid: int) -> list[int]:
    """The ports on the other side of a process's TCP connections."""
    inodes = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
        lines = Path("/proc", str(pid), "net", "tcp").read_text("ascii").splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in inodes]


def _orphaned_sockets() -> Iterator[str]:
    """Agents' socket directories in which nobody listens."""
    listening = Path("/proc/net/unix").read_text("utf-8", "replace")
    for name in os.listdir(TMP):
        if SOCKETS.fullmatch(name) and f"{TMP}/{name}/" not in listening:
            yield f"{TMP}/{name}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
