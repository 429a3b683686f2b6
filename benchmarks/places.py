"""Three ways to have a kernel: local, ours, and a bare `ssh -L` to a local kernel's sockets."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.agent.kernel import free_ports
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
def bare(server: Sshd, *, relays: bool = False) -> Iterator[BlockingKernelClient]:
    """A client of a local kernel through forwards of an ssh of its own: the floor.

    With `relays`, one more process at each end copies what comes: the floor of whoever has any.
    """
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="b-", dir="/tmp"))
        kernel = stack.enter_context(local())
        words = ["ssh", "-F", str(server.ssh_config), "-S", str(Path(directory) / "c")]
        subprocess.run([*words, "-M", "-f", "-N", server.host], check=True, timeout=PATIENCE)
        leave = [*words, "-O", "exit", server.host]
        stack.callback(subprocess.run, leave, check=True, stderr=subprocess.DEVNULL)
        client = kernel.manager.client()
        targets = [getattr(kernel.manager, f"{channel}_port") for channel in CHANNELS]
        ports = free_ports(3 * len(CHANNELS))
        mine = ports[::3]
        for channel, port in zip(CHANNELS, mine, strict=True):
            setattr(client, f"{channel}_port", port)
        if relays:
            here, there = ports[1::3], ports[2::3]
            stack.enter_context(relay(mine, here))
            stack.enter_context(relay(there, targets))
            mine, targets = here, there
        forwards = [
            word
            for port, target in zip(mine, targets, strict=True)
            for word in ("-L", f"127.0.0.1:{port}:127.0.0.1:{target}")
        ]
        subprocess.run([*words, "-O", "forward", *forwards, server.host], check=True)
        # sshd sends small packets at once only after a session; without one each round trip would
        # take 40 ms, which nobody who has a shell there sees.
        subprocess.run([*words, server.host, "true"], check=True, stdin=subprocess.DEVNULL)
        client.start_channels()
        stack.callback(client.stop_channels)
        client.kernel_info(reply=True, timeout=PATIENCE)
        yield client


@contextlib.contextmanager
def relay(ports: list[int], targets: list[int]) -> Iterator[None]:
    """A process that copies from each of `ports` to its target, and back."""
    pairs = [f"{port}:{target}" for port, target in zip(ports, targets, strict=True)]
    words = [sys.executable, "-I", str(Path(__file__).parent / "relay.py"), *pairs]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
