"""Three ways to have a kernel: local, ours, and a bare `ssh -L` to a local kernel's sockets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.lab.kernels import PATIENCE, write_spec
from tests.lab.sshd import Sshd

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class Started:
    """A kernel with a client; `seconds` from the start's beginning to the first reply."""

    def __init__(self, name: str) -> None:
        begun = time.perf_counter()
        self.manager = KernelManager(kernel_name=name)
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.kernel_info(reply=True, timeout=PATIENCE)
        self.seconds = time.perf_counter() - begun

    def end(self) -> None:
        """Shut the kernel down."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.context.destroy(linger=0)


@contextlib.contextmanager
def local() -> Iterator[Started]:
    """A local kernel, as jupyter_client starts it."""
    kernel = Started("python3")
    try:
        yield kernel
    finally:
        kernel.end()


@contextlib.contextmanager
def ours(server: Sshd) -> Iterator[Started]:
    """A kernel through sshpyk."""
    write_spec("ours", server)
    kernel = Started("ours")
    try:
        yield kernel
    finally:
        kernel.end()


@contextlib.contextmanager
def bare(server: Sshd) -> Iterator[BlockingKernelClient]:
    """A client of a local kernel through forwards of an ssh of its own: the floor."""
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as directory, local() as kernel:
        control = str(Path(directory) / "c")
        words = ["ssh", "-F", str(server.ssh_config), "-S", control]
        subprocess.run([*words, "-M", "-f", "-N", server.host], check=True, timeout=PATIENCE)
        client = kernel.manager.client()
        forwards: list[str] = []
        for number, channel in enumerate(CHANNELS):
            port = getattr(kernel.manager, f"{channel}_port")
            mine = 20000 + (os.getpid() * 7 + number) % 20000
            forwards += ["-L", f"127.0.0.1:{mine}:127.0.0.1:{port}"]
            setattr(client, f"{channel}_port", mine)
        subprocess.run([*words, "-O", "forward", *forwards, server.host], check=True)
        # sshd sends small packets at once only after a session; without one each round trip would
        # take 40 ms, which nobody who has a shell there sees.
        subprocess.run([*words, server.host, "true"], check=True, stdin=subprocess.DEVNULL)
        client.start_channels()
        try:
            client.kernel_info(reply=True, timeout=PATIENCE)
            yield client
        finally:
            client.stop_channels()
            subprocess.run(
                [*words, "-O", "exit", server.host], check=True, stderr=subprocess.DEVNULL
            )
