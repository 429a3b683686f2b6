"""Where the demo's kernel runs, and how the connection to it is broken there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from ..jupyter.kernelspec import make_content
from ..link.thread import io_thread
from ..ssh.command import Destination
from ..transport.openssh import transport

#: Seconds for anything that should take one.
PATIENCE = 60.0


class Place:
    """A host, with the Python there that runs the agent, and the name of a kernelspec there.

    `break_connection` cuts the connection to it; the default ends the ssh process that holds it.
    `fork_server` is the setting: whether the host keeps a process for further starts.
    """

    def __init__(
        self,
        destination: Destination,
        python: str,
        kernel: str,
        break_connection: Callable[[], object] | None = None,
        *,
        fork_server: bool = True,
    ) -> None:
        self.destination = destination
        self.python = python
        self.kernel = kernel
        self.fork_server = fork_server
        self.break_connection = break_connection or self.end_connection

    def write_kernelspec(self, directory: str) -> None:
        """Write what `sshpyk add` would, as the kernel "demo" below `directory`."""
        config = {
            "ssh_host_alias": self.destination.host,
            "ssh_config": self.destination.ssh_config,
            "remote_python": self.python,
            "remote_kernel_name": self.kernel,
            **({} if self.fork_server else {"fork_server": False}),
        }
        folder = os.path.join(directory, "kernels", "demo")
        os.makedirs(folder)
        with open(os.path.join(folder, "kernel.json"), "w", encoding="utf-8") as file:
            json.dump(make_content("demo", "Demo", "python", config), file)

    def ssh(self, command: str) -> str:
        """What a command prints on the host, by an ssh that has nothing to do with sshpyk."""
        result = subprocess.run(
            self.destination.argv("-o", "BatchMode=yes", command=command),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return result.stdout.strip()

    def end_connection(self) -> None:
        """End the ssh process that all kernels on the host share."""

        async def end() -> bool:
            return await transport(self.destination).master.exit()

        io_thread().submit(end()).result(PATIENCE)


@contextlib.contextmanager
def sandbox() -> Iterator[tuple[Place, int]]:
    """A throwaway SSH server on this machine, as a place; and its port."""
    from .sandbox import Sandbox

    with (
        tempfile.TemporaryDirectory(prefix="sshpyk-demo-") as home,
        Sandbox(environment={"HOME": home}) as server,
    ):
        destination = Destination(server.host, ssh_config=str(server.ssh_config))
        # There is no further start on it, for which a fork server would stay ten minutes.
        place = Place(destination, sys.executable, "python3", server.drop, fork_server=False)
        yield place, server.port
