"""A user's own host: start, round trip and throughput beside what ssh alone gives there."""

from __future__ import annotations

import statistics
import time

from rich.console import Console
from rich.table import Table

from sshpyk.cli.measure import Measured, measure
from sshpyk.jupyter import kernelspec
from sshpyk.link.thread import io_thread
from sshpyk.ssh.command import Destination, run
from sshpyk.transport.openssh import OpenSSH, transport
from tests.lab.kernels import PATIENCE

from . import measures
from .places import Started, local

MEGABYTES = 50


def show(name: str, ssh_config: str | None, python: str, kernel: str, runs: int) -> None:
    """Measure in turn, and print the medians with their spread."""
    destination = Destination(name, None, ssh_config)
    settings = {"ssh_host_alias": name, "ssh_config": ssh_config, "remote_python": python}
    settings["remote_kernel_name"] = kernel
    kernelspec.write("own", kernelspec.make_content("own", "own", "python", settings))
    there = io_thread().submit(_connected(destination)).result(PATIENCE)
    starts: list[float] = []
    locals_: list[float] = []
    commands: list[float] = []
    trips: list[float] = []
    trips_alone: list[float] = []
    rates: list[float] = []
    rates_alone: list[float] = []
    console = Console(stderr=True)
    for number in range(runs):
        console.print(f"{name}: run {number + 1} of {runs}")
        with local() as here:
            locals_.append(here.seconds)
        commands.append(io_thread().submit(_command(there)).result(PATIENCE))
        alone: Measured = io_thread().submit(measure(there, python, None)).result(PATIENCE)
        trips_alone.append(alone.round_trip)
        rates_alone.append(alone.throughput)
        ours = Started("own")
        try:
            starts.append(ours.seconds)
            trips.append(measures.round_trips([ours.client], 50)[0])
            rates.append(measures.throughput(ours.client, MEGABYTES))
        finally:
            ours.end()
    alone_start = f"{_text(commands)} s, a local kernel {_text(locals_)} s"
    table = Table("what", "ssh alone", "sshpyk", title=name)
    table.add_row("first reply after start", alone_start, f"{_text(starts)} s")
    for what, unit, rows in (
        ("round trip, ms", 1e3, (trips_alone, trips)),
        ("throughput, MB/s", 1e-6, (rates_alone, rates)),
    ):
        table.add_row(what, *(_text([value * unit for value in row]) for row in rows))
    Console().print(table)


def _text(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} – {max(values):.3g})"


async def _connected(destination: Destination) -> OpenSSH:
    found = transport(destination)
    await found.ensure(timeout=PATIENCE)
    return found


async def _command(there: OpenSSH) -> float:
    """Seconds for a command that does nothing."""
    begun = time.perf_counter()
    await run(there.master.session_argv("true"), timeout=PATIENCE)
    return time.perf_counter() - begun
