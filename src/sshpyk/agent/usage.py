"""What kernels and their machine use. A part of jobs: measured when somebody asks, and not else.

Memory is RSS where a kernel is one process. Of several it is PSS, in which a page that they share
counts once: that is slower to read, and without it 64 workers that share 10 GB would seem to use
640. Only Linux tells all this.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

from ..wire import cgroups, gpus, procfs
from .evidence import Evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

#: Seconds over which the processors' use is measured where there was no look before, those that a
#: program of a GPU's maker has to answer, and to end when it has not.
SAMPLE = 0.2
ANSWER_WITHIN = 5.0
ENDS_WITHIN = 0.5

#: Where such programs are when they are not on the PATH of an ssh session.
PLACES = ("/usr/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib", "/opt/rocm/bin")


class Meter:
    """Measures what kernels use; each look tells of the time since the one before.

    `cost` is the seconds of processor that the last look took.
    """

    def __init__(self) -> None:
        self.cost = 0.0
        self._before: Optional[Look] = None
        self._asks: List[Sequence[str]] = [gpus.NVIDIA_GPUS, gpus.NVIDIA_USES, gpus.ROCM]

    def measure(self, leaders: Sequence[int]) -> Dict[str, Any]:
        """{"uses": by the process of each kernel, "machine", "gpus"}."""
        begun = time.process_time()
        asked = [start(words) for words in self._asks]
        if self._before is None:
            self._before = Look()
            time.sleep(SAMPLE)
        before, now = self._before, Look()
        self._before = now
        said = [finish(program) for program in asked]
        # Which hangs in a driver would be left there once more by each look.
        self._asks = [() if text is None else ask for ask, text in zip(self._asks, said)]  # noqa: B905  # strict= is 3.10's
        found, gpu_uses = read_gpus(*(text or "" for text in said))
        trees = procfs.trees(now.processes, leaders)
        answer = {
            "uses": {pid: use(pid, pids, before, now, gpu_uses) for pid, pids in trees.items()},
            "machine": machine(before, now),
            "gpus": found,
        }
        self.cost = time.process_time() - begun
        return answer


class Look:
    """The processes and processors at one moment."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.busy, self.all = procfs.processors(read("/proc/stat"))
        self.processes: Dict[int, procfs.Process] = {}
        for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        self.processes[int(name)] = procfs.Process(file.read())
                except (OSError, IndexError):
                    continue  # it has ended meanwhile


def use(
    pid: int, pids: List[int], before: Look, now: Look, gpu_uses: Dict[int, int]
) -> Optional[Dict[str, Any]]:
    """What the processes `pids` of the kernel `pid` use, as `sshpyk.transport.answers.USE`."""
    if not pids:
        return None
    tick = os.sysconf("SC_CLK_TCK")
    elapsed = max(0.001, now.at - before.at)
    ticks = share = threads = 0
    for one in pids:
        process = now.processes[one]
        ticks += process.ticks
        share += procfs.ticks_since(before.processes.get(one), process)
        threads += process.threads
    limit, is_machine = Evidence(pid).limit()
    on_gpus = [gpu_uses[one] for one in pids if one in gpu_uses]
    return {
        "memory": memory(pids, now),
        "memory_limit": None if is_machine else limit,
        "cpu": share / tick / elapsed,
        "cpu_seconds": ticks / tick,
        "threads": threads,
        "processes": len(pids),
        "gpu_memory": sum(on_gpus) if on_gpus else None,
    }


def memory(pids: List[int], now: Look) -> int:
    """The bytes that processes have together."""
    total = 0
    for pid in pids:
        shared = procfs.pss(read(f"/proc/{pid}/smaps_rollup")) if len(pids) > 1 else None
        resident = now.processes[pid].pages * os.sysconf("SC_PAGE_SIZE")
        total += resident if shared is None else shared
    return total


def machine(before: Look, now: Look) -> Dict[str, Any]:
    """What all that runs on this machine uses; None where it does not say."""
    sizes = cgroups.table(read("/proc/meminfo"))
    total, free = sizes.get("MemTotal"), sizes.get("MemAvailable")
    passed = now.all - before.all
    try:
        load: Optional[float] = os.getloadavg()[0]
    except OSError:
        load = None
    return {
        "memory_total": total,
        "memory_used": None if total is None or free is None else max(0, total - free),
        "cpu": max(0, now.busy - before.busy) / passed if passed > 0 else None,
        "cpus": os.cpu_count(),
        "load": load,
    }


def start(words: Sequence[str]) -> Optional[subprocess.Popen[bytes]]:
    """A program that is to be asked, if it is there."""
    if not words:
        return None
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    program = shutil.which(words[0], path=path)
    if program is None:
        return None
    try:
        return subprocess.Popen(
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def finish(program: Optional[subprocess.Popen[bytes]]) -> Optional[str]:
    """What it prints; empty where it fails, None where it does not answer in time."""
    if program is None:
        return ""
    try:
        said, _ = program.communicate(timeout=ANSWER_WITHIN)
    except subprocess.TimeoutExpired:
        program.kill()
        try:
            program.communicate(timeout=ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            pass  # one that hangs in a driver ends when that does
        return None
    return said.decode("utf-8", "replace") if program.returncode == 0 else ""


def read_gpus(nvidia: str, uses: str, rocm: str) -> Tuple[List[gpus.GPU], Dict[int, int]]:
    """The GPUs, and bytes of theirs by process."""
    try:
        amd = json.loads(rocm) if rocm else {}
    except (ValueError, RecursionError):
        amd = {}
    found = gpus.nvidia_gpus(nvidia) + gpus.rocm_gpus(amd)
    return found, {**gpus.rocm_uses(amd), **gpus.nvidia_uses(uses)}


def read(path: str) -> str:
    """A file's text; empty where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
