"""`sshpyk top`: what the kernels on hosts use, those first that use most memory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from . import kernels, rows, watch
from .kernels import Survey
from .terminal import Terminal

HEADS = ("ID", "NAME", "HOST", "KERNEL", "ACTIVITY", "MEMORY", "CPU", "THREADS", "GPU")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="where to look (default: all of the kernelspecs)"
    )
    kernels.add_place_options(parser, host_option=False)
    parser.add_argument("--json", action="store_true", help="write JSON, a line each time")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    where = kernels.places(arguments.hosts, arguments.ssh_config)
    return watch.run(where, terminal, describe, HEADS, cells, as_json=arguments.json)


def describe(surveys: Sequence[Survey]) -> list[dict[str, Any]]:
    """All kernels as `ps --json` has them, the largest first."""
    found = rows.describe_all(surveys, ended=False)
    return sorted(found, key=lambda row: -(row["memory"] or 0))


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a kernel's row, below `HEADS`."""
    memory, cpu, gpu = rows.uses(row)
    threads = "" if row["threads"] is None else str(row["threads"])
    named = row["id"][:8], row["name"] or "", row["host"], row["kernelspec"] or ""
    return (*named, rows.activity(row), memory, cpu, threads, gpu)
