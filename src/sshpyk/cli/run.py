"""`sshpyk run`: execute a notebook or a script in a kernel on a host."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import errors
from ..notebook.parameters import typed
from . import described, kernels
from .terminal import Terminal, clean

if TYPE_CHECKING:
    from ..api import Result, Running

#: Exit statuses beside 0 and 2: a cell raised; the host, the kernel or the disk failed.
RAISED, FAILED = 1, 3

AGAIN = "interrupted; Ctrl+C again leaves it running"

DESCRIPTION = """\
Run a notebook or a script in a kernel on a host. The host runs one cell after the other by itself,
so neither an outage nor the end of this program delays it. The outputs come into the notebook while
it runs. Ctrl+C interrupts it; a second Ctrl+C leaves it running.

Exit statuses: 0 all cells ran, or it was left by --detach; 1 a cell raised; 2 a mistake in the
call; 3 the host, the network, the kernel or a disk failed; 130 left by a second Ctrl+C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "file", metavar="NOTEBOOK|SCRIPT", help="what to run; a notebook's name ends with .ipynb"
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="WORD", help="behind --: words for a script, its sys.argv"
    )
    parser.add_argument(
        "--on",
        required=True,
        metavar="KERNEL",
        help="a kernel of `sshpyk list`, which is started and ends with the run; or ID|NAME|FILE "
        "of one that runs, as for `sshpyk attach`",
    )
    kernels.add_place_options(parser)
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebook: None, True, False, a number, or text",
    )
    parser.add_argument(
        "-r",
        "--raw-parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "TEXT"),
        help="a parameter that is text, whatever it looks like",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where the executed notebook goes (default: into the notebook itself)",
    )
    parser.add_argument(
        "--sync",
        metavar="DIR",
        help="bring the files below DIR to the host before, and run there",
    )
    parser.add_argument(
        "-d", "--detach", action="store_true", help="leave at once; `sshpyk collect` comes back"
    )
    parser.add_argument("--json", action="store_true", help="write what became of it as JSON")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    values = {name: typed(value) for name, value in arguments.parameter}
    values.update(dict(arguments.raw_parameter))
    try:
        return _run(arguments, terminal, values)
    except errors.SettingsError:
        raise
    except errors.SshpykError as error:
        terminal.failure(error)
        return FAILED


def _run(arguments: argparse.Namespace, terminal: Terminal, values: dict[str, Any]) -> int:
    from .. import api

    with terminal.busy(f"Starting on {arguments.on} …"):
        running = api.begin(
            arguments.file,
            arguments.on,
            parameters=values,
            arguments=arguments.arguments,
            output=arguments.output,
            sync=arguments.sync,
            hosts=arguments.hosts,
            ssh_config=arguments.ssh_config,
            note=lambda text: terminal.note(text, "yellow"),
        )
    if arguments.detach:
        result = running.detached()
        _tell(arguments, terminal, result)
        return 0
    is_script = not is_notebook(arguments.file)
    try:
        with _progress(terminal, is_script) as seen:
            result = running.wait(seen)
    except KeyboardInterrupt:
        terminal.note(_how_to_collect(running.id, running.host, running.output or "NOTEBOOK"))
        raise
    _tell(arguments, terminal, result)
    return {"ok": 0, "error": RAISED}.get(result.status, FAILED)


def _tell(arguments: argparse.Namespace, terminal: Terminal, result: Result) -> None:
    """Say what became of it."""
    if arguments.json:
        terminal.raw(described.write(result.to_json()))
    elif result.status == "detached":
        terminal.note(_how_to_collect(result.run, result.host, result.output or "NOTEBOOK"))
    elif result.status == "ok" and result.output is not None:
        terminal.note(f"{result.output}: {count(result.ran)} ran on {result.host}.", "dim")
    if result.status not in ("ok", "detached"):
        failure(terminal, result, "" if is_notebook(arguments.file) else arguments.file)


def is_notebook(path: str) -> bool:
    """Whether a file is run as a notebook, by its name."""
    return path.endswith(".ipynb")


def count(cells: int) -> str:
    """So many cells, in words."""
    return "1 cell" if cells == 1 else f"{cells} cells"


def failure(terminal: Terminal, result: Result, script: str = "") -> None:
    """Say why a run did not get to its end, with the traceback where a cell, or the `script` that
    it was, raised."""
    if result.status == "error":
        for line in "\n".join(result.traceback).split("\n"):
            terminal.note(without_colours(line))
        name = script or f"cell {result.cell} of {result.cells}"
        what = ": ".join(filter(None, (f"{name} raised {result.ename}", result.evalue)))
    else:
        why = {
            "died": "the kernel ended" + (f" ({result.text})" if result.text else ""),
            "stopped": "it was told to stop",
        }.get(result.status, result.text.strip().rpartition("\n")[2])
        name = script or f"after {result.ran} of {count(result.cells)}"
        what = f"{name} on {result.host}: {why}"
    rest = 0 if script else result.cells - result.ran
    left = f" {count(rest)} did not run." if rest else ""
    terminal.error(f"{what}.{left}")


def without_colours(text: str) -> str:
    """A line of a traceback without what colours it."""
    return clean(re.sub(r"\x1b\[[0-9;]*m", "", text))


def _how_to_collect(run: str, host: str, output: str) -> str:
    import shlex

    return (
        f"The run goes on, on {host}. What came of it: "
        f"sshpyk collect {run[:8]} {shlex.quote(output)}"
    )


@contextmanager
def _progress(terminal: Terminal, is_script: bool) -> Iterator[Callable[[Running], None]]:
    """What shows how far a run is: a script's output as it comes, else a bar of cells where a
    terminal is."""
    if is_script:
        yield _Writer(terminal).seen
        return
    with terminal.bar() as show:

        def seen(running: Running) -> None:
            replay = running.replay
            replay.texts.clear()
            text = replay.first_line_of(replay.at) if replay.at is not None else ""
            if running.was_interrupted:
                text = AGAIN
            if running.is_away:
                text = f"{running.host} is out of reach; the run goes on there"
            elif running.trouble is not None:
                text = f"can't be saved: {running.trouble.strerror}"
            show(replay.ran, len(replay.cells), text)

        yield seen


class _Writer:
    """Writes what a script has written."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._has_told = False

    def seen(self, running: Running) -> None:
        """Something has come."""
        _write(running)
        if running.was_interrupted and not self._has_told:
            self._has_told = True
            self._terminal.note(AGAIN, "dim")


def _write(running: Running) -> None:
    for name, text in running.replay.texts:
        stream = sys.stderr if name == "stderr" else sys.stdout
        stream.write(text)
    running.replay.texts.clear()
    sys.stdout.flush()
    sys.stderr.flush()
