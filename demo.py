"""sshpyk in one minute: a kernel on another machine, and everything that could go wrong with it.

    python demo.py          # on a throwaway SSH server on this machine; nothing else is needed
    python demo.py HOST     # on a host of yours, anything that `ssh HOST` accepts

It exits with 0 only when each step held.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from rich.console import Console
from traitlets.config import Config

from sshpyk.demo.sandbox import Sandbox
from sshpyk.errors import SshpykError
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.link.link import Link
from sshpyk.link.thread import io_thread
from sshpyk.transport import jobs
from sshpyk.transport.openssh import OpenSSH

PATIENCE = 60.0  # seconds for anything that should take one
console = Console(highlight=False)


class Broken(Exception):
    """A step did not hold."""


def step(text: str) -> None:
    console.print(f"\n[bold cyan]▸ {text}[/]")


def show(text: str) -> None:
    console.print(f"  {text}", style="dim", markup=False)


def held(text: str, condition: bool) -> None:
    if not condition:
        raise Broken(text)
    console.print(f"  [green]✓[/] {text}")


class Place:
    """Where the kernel runs, and how the demo breaks the connection to it."""

    def __init__(self, host: str, ssh_config: str | None, python: str, kernel: str) -> None:
        self.settings = {
            "ssh_host_alias": host,
            "ssh_config": ssh_config,
            "remote_python": python,
            "remote_kernel_name": kernel,
        }
        self.break_connection: Callable[[KernelManager], object] = end_master

    def write_kernelspec(self, directory: str) -> None:
        """What `sshpyk add` writes, for this demo only."""
        folder = Path(directory) / "kernels" / "demo"
        folder.mkdir(parents=True)
        stanza = {"provisioner_name": "sshpyk-provisioner", "config": self.settings}
        content = {
            "argv": ["sshpyk"],
            "display_name": "Demo",
            "language": "python",
            "metadata": {"kernel_provisioner": stanza},
        }
        (folder / "kernel.json").write_text(json.dumps(content))

    def ssh(self, command: str) -> str:
        """What a command says on the host, by an ssh that has nothing to do with sshpyk."""
        config = self.settings["ssh_config"]
        words = ["ssh", *(["-F", config] if config else []), "-o", "BatchMode=yes"]
        result = subprocess.run(
            [*words, str(self.settings["ssh_host_alias"]), command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return result.stdout.strip()


def end_master(manager: KernelManager) -> None:
    """Break the connection to a real host: end the ssh process that holds it."""
    provisioner = manager.provisioner
    assert isinstance(provisioner, SSHKernelProvisioner)
    assert isinstance(provisioner.kernel, Link)
    assert isinstance(provisioner.kernel.transport, OpenSSH)
    io_thread().submit(provisioner.kernel.transport.master.exit()).result(PATIENCE)


@contextlib.contextmanager
def connected(manager: KernelManager) -> Iterator[BlockingKernelClient]:
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


def numbered_lines(place: Place, manager: KernelManager, client: BlockingKernelClient) -> None:
    step("Printing 60 numbered lines, and breaking the connection in the middle")
    code = "import time\nfor n in range(60):\n    print(n, flush=True)\n    time.sleep(0.05)"
    request = client.execute(code)
    lines: list[str] = []
    for message in outputs(client, request):
        before = len(lines)
        lines += message["content"].get("text", "").split()
        if before < 20 <= len(lines):
            place.break_connection(manager)
            show("… 20 lines arrived; the connection is broken now …")
    held(f"all {len(lines)} lines arrived, once and in order", lines == [*map(str, range(60))])
    status = client.get_shell_msg(timeout=PATIENCE)["content"]["status"]
    held("the cell's reply arrived too", status == "ok")
    held("the kernel was not restarted", run(client, "n") == "" and manager.is_alive())


def interrupt(manager: KernelManager, client: BlockingKernelClient) -> None:
    step("Interrupting a cell that would run for an hour")
    request = client.execute("print('running', flush=True)\nimport time\ntime.sleep(3600)")
    begun = time.monotonic()
    names: list[str] = []
    interrupted = False
    for message in outputs(client, request):
        if message["msg_type"] == "stream" and not interrupted:
            interrupted = True  # once: the line may come in two pieces
            manager.interrupt_kernel()
        elif message["msg_type"] == "error":
            names.append(message["content"]["ename"])
    held(f"it ended with {names}, after {time.monotonic() - begun:.1f} s", bool(names))


def restart(manager: KernelManager, client: BlockingKernelClient) -> None:
    step("Restarting the kernel, in place")
    before = run(client, "import os; print(os.getpid())").strip()
    begun = time.monotonic()
    manager.restart_kernel()
    client.wait_for_ready(timeout=PATIENCE)
    seconds = time.monotonic() - begun
    after = run(client, "import os; print(os.getpid())").strip()
    held(f"process {before} became {after} in {seconds:.1f} s", before != after)


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


def leave(client: BlockingKernelClient) -> int:
    step("Leaving the kernel with a job in it")
    run(client, JOB)
    count = int(run(client, "print(count)"))
    show(f"the job has counted to {count}")
    return count


def come_back(client: BlockingKernelClient, count: int) -> None:
    later = int(run(client, "print(count)"))
    held(f"the job went on: it is at {later}", later > count)


def traces(manager: KernelManager) -> dict[str, Any]:
    """What there is of the kernel on the host while it runs."""
    provisioner = manager.provisioner
    assert isinstance(provisioner, SSHKernelProvisioner)
    link = provisioner.kernel
    assert isinstance(link, Link)
    probe = jobs.ask(link.transport, link.agent.python, {"do": "probe", "id": link.agent.id})
    answer: dict[str, Any] = io_thread().submit(probe).result(PATIENCE)
    record: dict[str, Any] = answer["record"]
    return record


def nothing_left(place: Place, record: dict[str, Any], runtime: str) -> None:
    step("Looking for what is left")
    pids = [record["agent_pid"], record["kernel"]["pid"]]
    for name, pid in zip(("agent", "kernel"), pids, strict=True):
        # A zombie is gone as well: it waits for the system to take note.
        gone = place.ssh(f"ps -o stat= -p {pid} | grep -v Z || echo gone")
        held(f"{name} {pid} is gone from the host", gone == "gone")
    paths = [record["sockets"], record["directory"]]
    gone = place.ssh(f"ls -d {' '.join(paths)} 2>/dev/null || echo none")
    held("so are its sockets and files there", gone.endswith("none") and "/" not in gone)
    left = [name for name in os.listdir(runtime) if "kernel" in name]
    held("and the connection files here", left == [])


def demonstrate(place: Place) -> None:
    with tempfile.TemporaryDirectory(prefix="sshpyk-demo-") as directory:
        runtime = os.path.join(directory, "runtime")
        os.environ["JUPYTER_PATH"] = directory
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        place.write_kernelspec(directory)

        step("Starting a kernel on the host")
        begun = time.monotonic()
        config = Config()
        config.SSHKernelProvisioner.persistent = True
        config.SSHKernelProvisioner.persistent_file = os.path.join(directory, "left.json")
        manager = KernelManager(kernel_name="demo", config=config)
        manager.start_kernel()
        try:
            with connected(manager) as client:
                held(f"ready after {time.monotonic() - begun:.1f} s", True)
                where = "import os, sys, socket; print(os.getpid(), 'on', socket.gethostname())"
                show(f"kernel process {run(client, where).strip()}")
                way = run(client, "print(os.environ.get('SSH_CONNECTION', ''))").strip()
                show(f"started over an ssh connection ({way or 'the sandbox names none'})")
                numbered_lines(place, manager, client)
                interrupt(manager, client)
                restart(manager, client)
                count = leave(client)
        except BaseException:
            assert isinstance(manager.provisioner, SSHKernelProvisioner)
            manager.provisioner.persistent = False  # what broke leaves nothing on the host
            raise
        finally:
            begun = time.monotonic()
            manager.shutdown_kernel()
        seconds = time.monotonic() - begun
        held(f"left in {seconds:.1f} s; here nothing of it runs any more", not manager.has_kernel)

        step("Coming back")
        config = Config()
        config.SSHKernelProvisioner.existing = os.path.join(directory, "left.json")
        manager = KernelManager(kernel_name="demo", config=config)
        manager.start_kernel()
        try:
            with connected(manager) as client:
                come_back(client, count)
            record = traces(manager)
            step("Shutting down")
        finally:
            manager.shutdown_kernel()
        held("shut down", not manager.has_kernel)
        nothing_left(place, record, runtime)


def main() -> int:
    # What fails is said below, once; jupyter_client would show where in its code as well.
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description="sshpyk in one minute")
    parser.add_argument("host", nargs="?", help="a host of yours (default: a throwaway server)")
    parser.add_argument("--ssh-config", help="an ssh configuration of its own")
    parser.add_argument("--python", default="python3", help="the Python on the host")
    parser.add_argument("--kernel", default="python3", help="the kernelspec on the host")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.host is None:
            step("Starting a throwaway SSH server on this machine")
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="sshpyk-demo-"))
            sandbox = stack.enter_context(Sandbox(environment={"HOME": home}))
            show(f"it listens on 127.0.0.1 port {sandbox.port}, and only our key gets in")
            place = Place(sandbox.host, str(sandbox.ssh_config), sys.executable, "python3")
            place.break_connection = lambda manager: sandbox.drop()
        else:
            place = Place(options.host, options.ssh_config, options.python, options.kernel)
        try:
            demonstrate(place)
        except Broken as broken:
            console.print(f"\n[bold red]✗ This did not hold:[/] {broken}")
            return 1
        except SshpykError as error:
            console.print("\n[bold red]✗[/] ", end="")
            console.print(str(error), markup=False)
            return 1
        finally:
            # The master is not ended by a kernel, so that the next starts at once.
            config = options.ssh_config if options.host else place.settings["ssh_config"]
            quit_master(place, config)
    console.print("\n[bold green]Everything held.[/]")
    return 0


def quit_master(place: Place, ssh_config: str | None) -> None:
    """End the ssh connection that the demo made."""
    from sshpyk.ssh.command import Destination
    from sshpyk.transport.openssh import transport

    async def quit() -> bool:
        destination = Destination(str(place.settings["ssh_host_alias"]), None, ssh_config)
        return await transport(destination).master.exit()

    io_thread().submit(quit()).result(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
