"""`sshpyk ps`: the kernels that run on hosts, and what they use."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from . import described, kernels
from .kernels import Survey
from .place import Place
from .rows import HEADS, cells, describe_all, machines
from .terminal import Terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="where to look (default: all of the kernelspecs)"
    )
    kernels.add_place_options(parser, host_option=False)
    parser.add_argument("-a", "--all", action="store_true", help="show those that have ended, too")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="look every 2 s until Ctrl+C; with --json a line each time",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    is_watched = arguments.watch
    where = kernels.places(arguments.hosts, arguments.ssh_config, servers=not is_watched)
    if is_watched:
        from . import watch

        def describe_now(surveys: Sequence[Survey]) -> list[dict[str, Any]]:
            return describe_all(surveys, ended=arguments.all)

        return watch.run(where, terminal, describe_now, HEADS, cells, as_json=arguments.json)
    with terminal.busy("Looking …"):
        surveys, lent = wait_for(_look(where))
    rows = describe_all(surveys, ended=arguments.all)
    if arguments.json:
        terminal.raw(described.write(rows, 1))
    elif rows:
        _show(terminal, rows)
        for line in machines(surveys):
            terminal.note(line, "dim")
    elif not any(survey.trouble or survey.unlisted for survey in surveys):
        terminal.note("No kernels of yours run there.", "dim")
    if not arguments.json:
        for line in lent:
            terminal.note(line, "dim")
    for survey in surveys:
        if survey.unlisted:
            terminal.note(f"{survey.place.host} lists no kernels: name one by its whole id.", "dim")
        if survey.trouble is not None:
            terminal.failure(survey.trouble)
    return int(any(survey.trouble for survey in surveys))


async def _look(where: Sequence[Place]) -> tuple[list[Survey], list[str]]:
    """What runs at places, and a line for each allocation there."""
    from . import allocations

    surveys = await kernels.survey_all(where, use=True)
    return surveys, allocations.lines(await allocations.of_places(where))


def _show(terminal: Terminal, rows: list[dict[str, Any]]) -> None:
    terminal.table(HEADS, map(cells, rows))
    for row in rows:
        if row["ended"]:
            terminal.note(f"{row['id'][:8]}: {row['ended']}", "dim")
