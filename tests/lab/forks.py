"""Fork servers in tests: quick to come and to go, and waited for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshpyk.transport import package
from tests.lab.kernels import until

#: Where the records of fork servers are: below a directory of state, and below a home.
BELOW_STATE = Path("sshpyk/forkservers")
FORKS = ".local/state" / BELOW_STATE

#: An agent starts one at once, and one ends with the last agent. And it hardly gives way: on a
#: machine that is busy with tests it would not be ready for half a minute.
QUICK = {
    "sshpyk.agent.forking": {"REST = 2.0": "REST = 0.05", "LINGER = 600.0": "LINGER = 0.0"},
    "sshpyk.agent.forkserver": {"NICENESS = 19": "NICENESS = 1"},
}


@contextlib.contextmanager
def quick(linger: float = 0.0) -> Iterator[None]:
    """What is sent to hosts does not take its time with fork servers; each stays so many seconds
    after the last agent."""
    sources = dict(package._sources())
    for name, changes in QUICK.items():
        for before, after in changes.items():
            assert before in sources[name]
            sources[name] = sources[name].replace(before, after)
    lingers = sources["sshpyk.agent.forking"].replace("LINGER = 0.0", f"LINGER = {linger}")
    sources["sshpyk.agent.forking"] = lingers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "_sources", lambda: sources)
        try:
            package.rest.cache_clear()
            yield
        finally:
            package.rest.cache_clear()


def fork_servers(home: Path, forks: Path = FORKS) -> list[dict[str, Any]]:
    """The records of those that are ready."""
    found = []
    for path in (home / forks).glob("*.json"):
        with contextlib.suppress(OSError):
            found.append(json.loads(path.read_text()))
    return found


def end_all(home: Path, forks: Path = FORKS) -> None:
    """End those below a home."""
    for record in fork_servers(home, forks):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], signal.SIGTERM)
        shutil.rmtree(record["directory"], ignore_errors=True)


def fork_server(home: Path, *, other_than: int = 0) -> dict[str, Any]:
    """The record of one that is ready, when there is one."""

    def found() -> list[dict[str, Any]]:
        return [record for record in fork_servers(home) if record["pid"] != other_than]

    until(lambda: bool(found()))
    return found()[0]


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return status.rpartition(b")")[2].split()[0] != b"Z"


def was_forked(pid: int, server: int) -> bool:
    """Whether a kernel is the fork server's: forks share the memory of what was imported."""
    return os.path.exists(f"/proc/{pid}") and title_space(pid) == title_space(server)


def title_space(pid: int) -> tuple[bytes, ...]:
    """What a process shares with its forks, and with no other."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return tuple(fields[45:49])  # where its command line and environment are: random in each
