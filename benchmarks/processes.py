"""What processes on this machine cost: CPU seconds and bytes of memory, from /proc."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir

from tests.lab.kernels import facts_of

from .places import Started


def agent_of(kernel: Started) -> int:
    """The process id of a kernel's agent."""
    return agent_of_manager(kernel.manager)


def agent_of_manager(manager: Any) -> int:
    """The same, of a manager: the parent of the kernel."""
    with open(f"/proc/{facts_of(manager)['pid']}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """A process's share of memory (PSS), in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say")


def own_memory() -> int:
    """The same, of this process."""
    return memory(os.getpid())


def start_all(name: str, count: int) -> list[AsyncKernelManager]:
    """Start so many kernels at once and have a reply from each."""

    async def one(number: int) -> AsyncKernelManager:
        manager = AsyncKernelManager(kernel_name=name)
        if name == "python3":
            # Over tcp some of so many local kernels fail: two find the same port free.
            manager.transport = "ipc"
            file = os.path.join(jupyter_runtime_dir(), f"kernel-{number}.json")
            os.makedirs(os.path.dirname(file), exist_ok=True)
            manager.connection_file = file
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=300)
        client.stop_channels()
        return manager

    async def everything() -> list[AsyncKernelManager]:
        return await asyncio.gather(*map(one, range(count)))

    return asyncio.run(everything())


def end_all(managers: list[AsyncKernelManager]) -> None:
    """Shut them down."""

    async def everything() -> None:
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in managers))

    asyncio.run(everything())
