"""Measures a local kernel, sshpyk and a bare `ssh -L` side by side, in turn, in one run.

    python -m benchmarks [--runs N] [--json FILE] [--plot FILE] [--only NAME …]
    python -m benchmarks --host HOST    # a host of yours, beside what ssh alone gives there

Figures of one run are comparable with each other and with nothing else: the machine's speed
drifts. So each row is a ratio of paired measurements: its median over the runs, and its spread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.lab.sshd import Sshd

from . import ported, relayed, rows, scheduled

ROWS: dict[str, Callable[[Sshd], rows.Row]] = {
    "start": rows.start,
    "start-50ms": rows.start_far,
    "cold-50ms": rows.cold_far,
    "round-trip": rows.round_trip,
    "round-trip-50ms": rows.round_trip_far,
    "throughput": rows.throughput,
    "throughput-50ms": rows.throughput_far,
    "interrupt": rows.interrupt,
    "restart": rows.restart,
    "idle": rows.idle,
    "many": rows.many,
    "import": rows.imports,
    "relay-start": relayed.start,
    "relay-start-50ms": relayed.start_far,
    "relay-round-trip": relayed.round_trip,
    "relay-throughput": relayed.throughput,
    "relay-throughput-50ms": relayed.throughput_far,
    "relay-interrupt": relayed.interrupt,
    "relay-many": relayed.many,
    "slurm-throughput": scheduled.throughput,
    "slurm-interrupt": scheduled.interrupt,
    "port-throughput": ported.throughput,
    "port-throughput-50ms": ported.throughput_far,
    "port-round-trip": ported.round_trip,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="paired runs of each row")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--plot", type=Path, help="where to draw time and throughput (PNG, SVG)")
    parser.add_argument("--host", help="measure a host of yours instead")
    parser.add_argument("--ssh-config", help="with --host: ssh's configuration")
    parser.add_argument("--python", default="python3", help="with --host: its Python")
    parser.add_argument("--kernel", default="python3", help="with --host: a kernelspec there")
    options = parser.parse_args()
    # `benchmarks.forks` has rows of its own for them.
    os.environ.setdefault("SSHPYK_FORK_SERVER", "0")
    results: dict[str, list[rows.Row]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        for name in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{name}_DIR"] = os.path.join(directory, name.lower())
        home = Path(directory) / "home"
        home.mkdir()
        if options.host:
            from .own_host import show as show_host

            words = (options.ssh_config, options.python, options.kernel)
            show_host(options.host, *words, options.runs)
            return 0
        console = Console(stderr=True)
        for name in options.only:
            for run in range(options.runs):
                console.print(f"{name}: run {run + 1} of {options.runs}")
                with Sshd(home=home) as server:
                    results.setdefault(name, []).append(ROWS[name](server))
        if options.plot:
            from .plot import draw

            draw(options.plot, home)
    show(results)
    if options.json:
        options.json.write_text(json.dumps(as_json(results), indent=1))
    missed = [name for name, found in results.items() if not median_row(found).holds]
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


def median_row(found: list[rows.Row]) -> rows.Row:
    """The row whose value is the median."""
    return sorted(found, key=lambda row: row.value)[len(found) // 2]


def show(results: dict[str, list[rows.Row]]) -> None:
    """Print the table."""
    table = Table("what", "target", "median", "min – max", "held", title=machine())
    for found in results.values():
        row = median_row(found)
        values = [one.value for one in found]
        spread = f"{min(values):.3g} – {max(values):.3g}"
        held = "yes" if row.holds else "no"
        table.add_row(row.what, row.target, row.text, spread, held)
    Console().print(table)


def machine() -> str:
    """What the figures were measured on."""
    cores = os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, Python {sys.version.split()[0]}"
    )


def as_json(results: dict[str, list[rows.Row]]) -> dict[str, Any]:
    """Every figure of every run."""
    return {
        "machine": machine(),
        "rows": {
            name: {
                "what": found[0].what,
                "target": found[0].target,
                "median": statistics.median(row.value for row in found),
                "values": [row.value for row in found],
                "details": [row.details for row in found],
            }
            for name, found in results.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
