"""The rows of the table: what is measured, against what, and the target.

Each function makes one paired measurement and returns a row. `server` is a fresh sshd.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from tests.lab.sshd import Sshd

from . import measures, processes
from .links import through_link
from .places import Started, bare, local, ours

#: Seconds one way: 50 ms round trip.
FAR = 0.025
ROUND_TRIP = 2 * FAR


@dataclass
class Row:
    """One measurement: `value` is judged by `holds`; `details` are the absolute figures."""

    what: str
    target: str
    value: float
    holds: bool
    text: str
    details: dict[str, float] = field(default_factory=dict)


def _warm(server: Sshd) -> None:
    """Make the master, and bring everything into the caches once."""
    with ours(server):
        pass


def start(server: Sshd) -> Row:
    _warm(server)
    with local() as kernel:
        there = kernel.seconds
    with ours(server) as kernel:
        here = kernel.seconds
    ratio = here / there
    return Row(
        "first reply after start, warm",
        "≤ 1.15 × local",
        ratio,
        ratio <= 1.15,
        f"{ratio:.2f} × ({here:.2f} s, local {there:.2f} s)",
        {"ours": here, "local": there},
    )


def start_far(server: Sshd) -> Row:
    with through_link(server) as link:
        _warm(server)
        with ours(server) as kernel:
            near = kernel.seconds
        link.set_delay(FAR)
        with ours(server) as kernel:
            far = kernel.seconds
    trips = (far - near) / ROUND_TRIP
    return Row(
        "the same at 50 ms",
        "≤ 5 round trips more",
        trips,
        trips <= 5,
        f"{trips:.1f} more ({far:.2f} s, near {near:.2f} s)",
        {"far": far, "near": near},
    )


def cold_far(server: Sshd) -> Row:
    with local() as kernel:
        there = kernel.seconds
    with through_link(server) as link:
        link.set_delay(FAR)
        begun = time.perf_counter()
        words = ["ssh", "-F", str(server.ssh_config), "-S", "none", server.host, "true"]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        login = time.perf_counter() - begun
        with ours(server) as kernel:
            here = kernel.seconds
    trips = (here - login - there) / ROUND_TRIP
    return Row(
        "cold, 50 ms",
        "≤ ssh HOST true + local + 5 round trips",
        trips,
        trips <= 5,
        f"{trips:.1f} more ({here:.2f} s; ssh {login:.2f} s, local {there:.2f} s)",
        {"ours": here, "ssh": login, "local": there},
    )


def _round_trips(server: Sshd, count: int) -> list[float]:
    """The medians of ours, of a bare forward, and of one with relays, in seconds."""
    with ours(server) as kernel, bare(server) as client, bare(server, relays=True) as relayed:
        return measures.round_trips([kernel.client, client, relayed], count)


def round_trip(server: Sshd) -> Row:
    here, floor, copied = _round_trips(server, 500)
    more = (here - copied) * 1e3
    return Row(
        "kernel_info round trip",
        "≤ relays + 0.1 ms",
        more,
        more <= 0.1,
        f"{more:+.2f} ms ({here * 1e3:.2f} ms, relays {copied * 1e3:.2f}, bare {floor * 1e3:.2f})",
        {"ours": here, "bare": floor, "relays": copied},
    )


def round_trip_far(server: Sshd) -> Row:
    with through_link(server) as link:
        link.set_delay(FAR)
        here, floor, copied = _round_trips(server, 100)
    ratio, least = here / floor, copied / floor
    return Row(
        "the same at 50 ms",
        "≤ 1.02 × bare -L",
        ratio,
        ratio <= 1.02,
        f"{ratio:.3f} × ({here * 1e3:.1f} ms, bare {floor * 1e3:.1f} ms, relays {least:.3f} ×)",
        {"ours": here, "bare": floor, "relays": copied},
    )


def _throughput(server: Sshd, what: str, target: float) -> Row:
    with ours(server) as kernel:
        here = measures.throughput(kernel.client, 200)
    with bare(server) as client:
        floor = measures.throughput(client, 200)
    ratio = here / floor
    return Row(
        what,
        f"≥ {target} × bare -L",
        ratio,
        ratio >= target,
        f"{ratio:.2f} × ({here / 1e6:.0f} MB/s, bare {floor / 1e6:.0f} MB/s)",
        {"ours": here, "bare": floor},
    )


def throughput(server: Sshd) -> Row:
    return _throughput(server, "200 MB of iopub", 0.9)


def throughput_far(server: Sshd) -> Row:
    with through_link(server) as link:
        link.set_delay(FAR)
        return _throughput(server, "200 MB of iopub, 50 ms", 2.5)


def interrupt(server: Sshd) -> Row:
    with through_link(server) as link, ours(server) as kernel:
        link.set_rate(20_000_000)
        seconds = measures.interrupt_while_sending(kernel, 500)
        link.set_rate(0)
    return Row(
        "interrupt while 500 MB are on the way at 20 MB/s",
        "≤ 0.3 s",
        seconds,
        seconds <= 0.3,
        f"{seconds:.2f} s",
    )


def _restart_time(kernel: Started) -> float:
    begun = time.perf_counter()
    kernel.manager.restart_kernel()
    kernel.client.kernel_info(reply=True, timeout=60)
    return time.perf_counter() - begun


def restart(server: Sshd) -> Row:
    with local() as kernel:
        there = _restart_time(kernel)
    with ours(server) as kernel:
        here = _restart_time(kernel)
    ratio = here / there
    return Row(
        "restart",
        "≤ 1.1 × local",
        ratio,
        ratio <= 1.1,
        f"{ratio:.2f} × ({here:.2f} s, local {there:.2f} s)",
        {"ours": here, "local": there},
    )


def idle(server: Sshd) -> Row:
    seconds = 60.0
    with through_link(server) as link, ours(server) as kernel:
        kernel.client.stop_channels()
        agent = processes.agent_of(kernel)
        before = processes.cpu_seconds(agent), time.process_time()
        carried = link.bytes()
        time.sleep(seconds)  # what is measured is what happens when nothing happens
        theirs = (processes.cpu_seconds(agent) - before[0]) / seconds
        mine = (time.process_time() - before[1]) / seconds
        carried = link.bytes() - carried
    share = max(theirs, mine) * 100
    return Row(
        "one idle kernel, 60 s",
        "≤ 0.1 % of a core an end, ≤ 6 kB",
        share,
        share <= 0.1 and carried <= 6000,
        f"{theirs * 100:.3f} % there, {mine * 100:.3f} % here, {carried} B",
        {"agent": theirs, "client": mine, "bytes": carried},
    )


def _start_and_end(count: int) -> float:
    """Seconds to start so many local kernels at once; they end."""
    begun = time.perf_counter()
    kernels = processes.start_all("python3", count)
    seconds = time.perf_counter() - begun
    processes.end_all(kernels)
    return seconds


def many(server: Sshd) -> Row:
    count = 50
    with ours(server):
        before = processes.own_memory()
        there = _start_and_end(count)
        begun = time.perf_counter()
        kernels = processes.start_all("ours", count)
        here = time.perf_counter() - begun
        client = (processes.own_memory() - before) / count
        agents = [processes.agent_of_manager(manager) for manager in kernels]
        memory = sum(map(processes.memory, agents)) / count
        processes.end_all(kernels)
        # Before and after: it takes long enough for the machine to have become another.
        there = (there + _start_and_end(count)) / 2
    ratio = here / there
    return Row(
        f"{count} kernels at once",
        "≤ 1.3 × local; ≤ 1 MB here, ≤ 14 MB there a kernel",
        ratio,
        ratio <= 1.3 and client <= 1e6 and memory <= 14e6,
        f"{ratio:.2f} × ({here:.1f} s); {client / 1e6:.2f} MB, {memory / 1e6:.1f} MB",
        {"ours": here, "local": there, "client": client, "agent": memory},
    )


def imports(server: Sshd) -> Row:
    def seconds(code: str) -> float:
        timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        done = subprocess.run(
            [sys.executable, "-c", timed], env=env, check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    base = "import jupyter_client.manager, jupyter_client.provisioning"
    both = f"{base}; import sshpyk.jupyter.provisioner"
    with tempfile.TemporaryDirectory() as cache:
        # With bytecode, as it is once installed: a checkout may have none.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache}
        seconds(both)
        more = (min(seconds(both) for _ in range(5)) - min(seconds(base) for _ in range(5))) * 1e3
    return Row(
        "import sshpyk.jupyter.provisioner",
        "≤ 80 ms beyond jupyter_client",
        more,
        more <= 80,
        f"+ {more:.0f} ms",
    )
