"""A link to a server, in a process of its own: in ours it would compete with what is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.lab.sshd import Sshd

RUN = """
import sys
from tests.lab.link import Link
with Link(int(sys.argv[1]), chunk=1024 * 1024) as link:  # a network takes no CPU time
    print(link.port, flush=True)
    for line in sys.stdin:
        name, value = line.split()
        getattr(link, name)(float(value))
        print(link.bytes_up + link.bytes_down, flush=True)
"""


class FarLink:
    """What a row may do with the link."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def set_delay(self, seconds: float) -> None:
        """Delay everything by `seconds` one way."""
        self._tell("set_delay", seconds)

    def set_rate(self, rate: float) -> None:
        """Let through `rate` bytes per second and direction, 0 for no limit."""
        self._tell("set_rate", rate)

    def bytes(self) -> int:
        """How many bytes have passed, both ways together."""
        return int(self._tell("set_rate", 0))

    def _tell(self, name: str, value: float) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name} {value}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextlib.contextmanager
def through_link(server: Sshd) -> Iterator[FarLink]:
    """Put a link in front of `server`; who connects from now on does so through it."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", RUN, str(server.sshd_port)]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        server.ssh_config.write_text(server.config_text(server.host, port=port))
        try:
            yield FarLink(process)
        finally:
            process.stdin.close()
            server.ssh_config.write_text(server.config_text(server.host))
