"""First replies of kernels with a fork server, without one, and of local ones, in turn.

    python -m benchmarks.forks [--runs N] [--many N]

Each run measures all of them, one after the other, and what is shown is the medians of the times,
and of the ratios to the local one of the same run. The first reply itself is timed (`kernel_info`
and its reply): `wait_for_ready` waits 0.2 s more for everybody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from tests.lab.kernels import PATIENCE, facts_of, write_spec
from tests.lab.sshd import Sshd

from . import processes
from .links import through_link
from .places import Started
from .rows import FAR

#: Seconds for a fork server to be ready, on a machine that has other things to do.
READY_WITHIN = 120.0

NAMES = {"local": "python3", "new": "new", "forked": "forked"}


def wait_for_fork_server(home: Path) -> int:
    """Its pid, when it is ready."""
    directory = home / ".local/state/sshpyk/forkservers"
    deadline = time.monotonic() + READY_WITHIN
    while not (found := list(directory.glob("*.json"))):
        if time.monotonic() > deadline:
            raise RuntimeError("no fork server came")
        time.sleep(0.1)
    return int(json.loads(found[0].read_text())["pid"])


def start_time(name: str) -> float:
    """Seconds from the start of a kernel to its first reply."""
    kernel = Started(name)
    kernel.end()
    return kernel.seconds


def restart_time(kernel: Started) -> float:
    """The same, of a restart."""
    begun = time.perf_counter()
    kernel.manager.restart_kernel()
    kernel.client.kernel_info(reply=True, timeout=PATIENCE)
    return time.perf_counter() - begun


def many_time(name: str, count: int) -> tuple[float, float]:
    """Seconds until so many kernels, started at once, have all replied; bytes of memory of each
    kernel (and its reporter, where it was forked)."""

    async def one(number: int) -> AsyncKernelManager:
        manager = AsyncKernelManager(kernel_name=name)
        if name == "python3":
            manager.transport = "ipc"
            file = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"kernel-{number}.json"
            file.parent.mkdir(exist_ok=True)
            manager.connection_file = str(file)
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.kernel_info()
        await client.get_shell_msg(timeout=PATIENCE)
        client.stop_channels()
        return manager

    async def everything() -> list[AsyncKernelManager]:
        return await asyncio.gather(*map(one, range(count)))

    begun = time.perf_counter()
    managers = asyncio.run(everything())
    seconds = time.perf_counter() - begun
    memory = sum(map(memory_of, managers)) / count
    processes.end_all(managers)
    return seconds, memory


def memory_of(manager: AsyncKernelManager) -> int:
    """A kernel's share of memory, with that of its reporter where it has one."""
    provisioner: Any = manager.provisioner
    if isinstance(provisioner, LocalProvisioner):
        assert provisioner.process is not None
        return processes.memory(provisioner.process.pid)
    pid = facts_of(manager)["pid"]
    parent = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    is_forked = b"fork server" in Path(f"/proc/{parent}/cmdline").read_bytes()
    return processes.memory(pid) + (processes.memory(parent) if is_forked else 0)


def show(what: str, times: dict[str, list[float]], unit: str = "s") -> None:
    """A line for each: its median and spread, and its ratio to local."""
    for name, found in times.items():
        ratios = [mine / there for mine, there in zip(found, times["local"], strict=True)]
        spread = f"{min(found):.3f} - {max(found):.3f}"
        print(
            f"{what:24} {name:8} {statistics.median(found):.3f} {unit} ({spread}), "
            f"{statistics.median(ratios):.2f} x local ({min(ratios):.2f} - {max(ratios):.2f})",
            flush=True,
        )


def in_turn(runs: int, ways: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Each way measured so often, one after the other."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, measure in ways.items():
            times[name].append(measure())
    return times


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forks", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="paired runs of each row")
    parser.add_argument("--many", type=int, default=50, help="kernels at once; 0: not measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        for name in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{name}_DIR"] = os.path.join(directory, name.lower())
        home = Path(directory) / "home"
        home.mkdir()
        with Sshd(home=home) as server, through_link(server) as link:
            write_spec("new", server, fork_server=False)
            write_spec("forked", server, fork_server=True)
            kernels = {name: Started(kernel) for name, kernel in NAMES.items()}
            server_pid = wait_for_fork_server(home)
            starts = {n: partial(start_time, k) for n, k in NAMES.items()}
            show("start", in_turn(options.runs, starts))
            restarts = {n: partial(restart_time, k) for n, k in kernels.items()}
            show("restart", in_turn(options.runs, restarts))
            link.set_delay(FAR)
            show("start, 50 ms", in_turn(options.runs, starts))
            link.set_delay(0)
            before = processes.cpu_seconds(server_pid)
            time.sleep(20)  # what is measured is what happens when nothing happens
            used = processes.cpu_seconds(server_pid) - before
            print(
                f"fork server: {processes.memory(server_pid) / 1e6:.1f} MB, {used} s in 20 s idle"
            )
            if options.many:
                seconds: dict[str, list[float]] = {name: [] for name in NAMES}
                sizes: dict[str, list[float]] = {name: [] for name in NAMES}
                for _ in range(max(1, options.runs // 3)):
                    for name, kernel_name in NAMES.items():
                        took, each = many_time(kernel_name, options.many)
                        seconds[name].append(took)
                        sizes[name].append(each / 1e6)
                show(f"{options.many} at once", seconds)
                show("memory of each", sizes, "MB")
            for kernel in kernels.values():
                kernel.end()
            os.kill(server_pid, 15)
    return 0


if __name__ == "__main__":
    sys.exit(main())
