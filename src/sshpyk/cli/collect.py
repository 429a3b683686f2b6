"""`sshpyk collect`: put output that nobody saw into the notebook whose cells made it."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from typing import TYPE_CHECKING

from .. import errors
from ..notebook import files
from . import kernels, logs, missed
from .terminal import Terminal

if TYPE_CHECKING:
    from ..api import Collected


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows it, or a file")
    parser.add_argument("notebook", metavar="NOTEBOOK.ipynb")
    kernels.add_place_options(parser)


def _tell(terminal: Terminal, path: str, done: Collected) -> int:
    """Say what a run has brought."""
    from .run import count, failure

    result = done.result
    said = f"{path}: {result.ran} of {count(result.cells)} ran on {result.host}"
    if done.goes_on:
        said += ", and it goes on: collect again"
    terminal.say(f"{said}." + (f" As it was: {done.copy}" if done.copy else ""))
    _tell_homeless(terminal, done.homeless)
    if done.goes_on or result.status == "ok":
        return 0
    failure(terminal, result)
    return 1


def _tell_homeless(terminal: Terminal, codes: list[str]) -> None:
    for code in codes:
        line = code.strip().partition("\n")[0][:60]
        terminal.note(f"No cell has the code that begins with: {line}", "yellow")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from .. import api
    from . import wait_for

    path = arguments.notebook
    with contextlib.suppress(errors.NoRun):
        done = api.collect(
            arguments.name, path, hosts=arguments.hosts, ssh_config=arguments.ssh_config
        )
        return _tell(terminal, path, done)
    notebook = files.read(path)
    place, id = wait_for(logs.find(arguments.name, arguments.hosts, arguments.ssh_config))
    outputs = wait_for(logs.outputs(place, id))
    found = missed.collect(notebook, outputs.lines, id)
    if found.count:
        copy = files.copy_name(path)
        shutil.copy2(path, copy)
        files.write(path, notebook)
        terminal.say(f"{path}: {found.count} outputs collected. As it was: {copy}")
    else:
        terminal.say(f"{path}: there is nothing new to collect.")
    _tell_homeless(terminal, found.homeless)
    return 0
