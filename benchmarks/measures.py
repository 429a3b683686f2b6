"""What is measured of a client: round trips, throughput, interrupts. Seconds, bytes per second."""

from __future__ import annotations

import queue
import statistics
import subprocess
import textwrap
import time
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd

#: Round trips in a row of one client, and of each before they are counted.
TURN = 10
SETTLE = 50

SEND = """
from IPython.display import publish_display_data
block = "x" * 1_000_000
for _ in range({megabytes}):
    publish_display_data({{"text/plain": block}})
"""

UNTIL_INTERRUPTED = """
import time
try:
{send}
    time.sleep(600)
except KeyboardInterrupt:
    pass
"""


def round_trips(clients: list[BlockingKernelClient], count: int) -> list[float]:
    """The median of `count` kernel_info round trips of each client.

    They take turns of ten, because the machine drifts by more than what they differ; and begin
    when their kernels are at rest, for one that has just started still has things to do.
    """
    times: list[list[float]] = [[] for _ in clients]
    for turn in range(-SETTLE, count, TURN):
        for client, taken in zip(clients, times, strict=True):
            for _ in range(TURN):
                begun = time.perf_counter()
                client.kernel_info(reply=True, timeout=PATIENCE)
                if turn >= 0:
                    taken.append(time.perf_counter() - begun)
    return [statistics.median(taken) for taken in times]


def throughput(client: BlockingKernelClient, megabytes: int) -> float:
    """Bytes per second of so many megabytes of iopub."""
    drain(client)
    begun = time.perf_counter()
    request = client.execute(SEND.format(megabytes=megabytes))
    arrived = 0
    while True:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "display_data":
            arrived += 1
        elif is_idle(message, request):
            break
    if arrived != megabytes:
        raise RuntimeError(f"{arrived} of {megabytes} messages arrived")
    return megabytes * 1e6 / (time.perf_counter() - begun)


def out_of(server: Sshd, command: str) -> float:
    """Bytes per second that a command prints in a session of ssh alone, from its first byte on."""
    words = ["ssh", "-F", str(server.ssh_config), "-S", "none", server.host, command]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as ssh:
        assert ssh.stdout is not None
        size = len(ssh.stdout.read(1))
        begun = time.perf_counter()
        while data := ssh.stdout.read(1 << 18):
            size += len(data)
        return size / (time.perf_counter() - begun)


def drain(client: BlockingKernelClient) -> None:
    """Forget what has arrived on iopub."""
    while True:
        try:
            client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            return


def is_idle(message: dict[str, Any], request: str) -> bool:
    """Whether a message says that a request is done."""
    is_for_it: bool = message["parent_header"].get("msg_id") == request
    return is_for_it and message["content"].get("execution_state") == "idle"


def interrupt_while_sending(kernel: Any, megabytes: int) -> float:
    """Seconds from an interrupt to the reply of the cell that was sending so much."""
    client = kernel.client
    drain(client)
    # Formatting a traceback of what was interrupted takes IPython up to 0.4 s, on any kernel: so
    # the cell does without one.
    code = UNTIL_INTERRUPTED.format(send=textwrap.indent(SEND.format(megabytes=megabytes), "    "))
    request = client.execute(code)
    while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "display_data":
        pass
    begun = time.perf_counter()
    kernel.manager.interrupt_kernel()
    while client.get_shell_msg(timeout=PATIENCE)["parent_header"]["msg_id"] != request:
        pass
    return time.perf_counter() - begun
