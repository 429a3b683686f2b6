"""The acts of the demo: each does one thing to a kernel, and says what must hold."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Iterator
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from ..jupyter.provisioner import SSHKernelProvisioner
from ..link.link import Link
from ..link.thread import io_thread
from ..transport import jobs
from .narrator import Broken, Narrator
from .place import PATIENCE, Place

#: Prints a number each moment.
NUMBERS = """
import time
for n in range(60):
    print(n, flush=True)
    time.sleep(0.05)
"""

#: Counts in the background.
JOB = """
import threading, time
count = 0
def work():
    global count
    while True:
        count += 1
        time.sleep(0.05)
threading.Thread(target=work, daemon=True).start()
"""


@contextlib.contextmanager
def connected(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    """A client of a kernel that answers."""
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()


def outputs(client: BlockingKernelClient, request: str) -> Iterator[dict[str, Any]]:
    """The messages on iopub that belong to a request, until it is done."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["content"].get("execution_state") == "idle":
            return
        yield message
    raise Broken("the kernel did not finish")


def run(client: BlockingKernelClient, code: str) -> str:
    """Run code in the kernel: what it printed."""
    request = client.execute(code)
    return "".join(m["content"].get("text", "") for m in outputs(client, request))


def break_connection(
    narrator: Narrator, place: Place, manager: KernelManager, client: BlockingKernelClient
) -> None:
    """A cut connection loses nothing."""
    narrator.step("Printing 60 numbered lines, and breaking the connection in the middle")
    request = client.execute(NUMBERS)
    lines: list[str] = []
    for message in outputs(client, request):
        before = len(lines)
        lines += message["content"].get("text", "").split()
        if before < 20 <= len(lines):
            place.break_connection()
            narrator.show("… 20 lines arrived; the connection is broken now …")
    is_whole = lines == [*map(str, range(60))]
    narrator.held(f"all {len(lines)} lines arrived, once and in order", is_whole)
    status = client.get_shell_msg(timeout=PATIENCE)["content"]["status"]
    narrator.held("the cell's reply arrived too", status == "ok")
    is_same = run(client, "n") == "" and manager.is_alive()
    narrator.held("the kernel was not restarted", is_same)


def interrupt(narrator: Narrator, manager: KernelManager, client: BlockingKernelClient) -> None:
    """An interrupt reaches the cell that runs."""
    narrator.step("Interrupting a cell that would run for an hour")
    # Without flush=True: ipykernel loses an interrupt in a hundred that comes while it flushes.
    request = client.execute("print('running')\nimport time\ntime.sleep(3600)")
    begun = time.monotonic()
    names: list[str] = []
    is_interrupted = False
    for message in outputs(client, request):
        if message["msg_type"] == "stream" and not is_interrupted:
            is_interrupted = True  # once: the line may come in two pieces
            manager.interrupt_kernel()
        elif message["msg_type"] == "error":
            names.append(message["content"]["ename"])
    took = time.monotonic() - begun
    narrator.held(f"it ended with {', '.join(names)}, after {took:.1f} s", bool(names))


def restart(narrator: Narrator, manager: KernelManager, client: BlockingKernelClient) -> None:
    """A restart is another process behind the same sockets."""
    narrator.step("Restarting the kernel, in place")
    before = run(client, "import os; print(os.getpid())").strip()
    begun = time.monotonic()
    manager.restart_kernel()
    client.wait_for_ready(timeout=PATIENCE)
    took = time.monotonic() - begun
    after = run(client, "import os; print(os.getpid())").strip()
    narrator.held(f"process {before} became {after} in {took:.1f} s", before != after)


def begin_job(narrator: Narrator, client: BlockingKernelClient) -> int:
    """Begin what goes on when everybody has left; how far it is."""
    narrator.step("Leaving the kernel with a job in it")
    run(client, JOB)
    count = int(run(client, "print(count)"))
    narrator.show(f"the job has counted to {count}")
    return count


def find_job(narrator: Narrator, client: BlockingKernelClient, count: int) -> None:
    """The job, which was at `count`, has gone on."""
    later = int(run(client, "print(count)"))
    narrator.held(f"the job went on: it is at {later}", later > count)


def traces(manager: KernelManager) -> dict[str, Any]:
    """What there is of the kernel on the host while it runs."""
    assert isinstance(manager.provisioner, SSHKernelProvisioner)
    link = manager.provisioner.kernel
    assert isinstance(link, Link)
    probe = jobs.ask(
        link.transport, link.agent.python, {"do": "probe", "id": link.agent.id, "place": ""}
    )
    answer: dict[str, Any] = io_thread().submit(probe).result(PATIENCE)
    record: dict[str, Any] = answer["record"]
    return record


def nothing_left(narrator: Narrator, place: Place, record: dict[str, Any], runtime: str) -> None:
    """What `record` tells of is gone from the host, and the connection files from `runtime`."""
    narrator.step("Looking for what is left")
    pids = [record["agent_pid"], record["kernel"]["pid"]]
    for name, pid in zip(("agent", "kernel"), pids, strict=True):
        # A zombie is gone as well: it waits for the system to take note. On a busy host it takes an
        # agent a moment to go, after its last answer.
        there = f"ps -o stat= -p {pid} | grep -qv Z"
        gone = place.ssh(
            f"for n in 1 2 3 4 5; do {there} || {{ echo gone; break; }}; sleep 1; done"
        )
        narrator.held(f"{name} {pid} is gone from the host", gone == "gone")
    paths = [record["sockets"], record["directory"]]
    gone = place.ssh(f"ls -d {' '.join(paths)} 2>/dev/null || echo none")
    is_gone = gone.endswith("none") and "/" not in gone
    narrator.held("so are its sockets and files there", is_gone)
    left = [name for name in os.listdir(runtime) if "kernel" in name]
    narrator.held("and the connection files here", left == [])
