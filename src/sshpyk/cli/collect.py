"""`sshpyk collect`: put output that nobody saw into the notebook whose cells made it."""

from __future__ import annotations

import argparse
import shutil

from ..notebook import files
from . import kernels, logs, missed
from .terminal import Terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows it, or a file")
    parser.add_argument("notebook", metavar="NOTEBOOK.ipynb")
    kernels.add_place_options(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    path = arguments.notebook
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
    for code in found.homeless:
        line = code.strip().partition("\n")[0][:60]
        terminal.note(f"No cell has the code that begins with: {line}", "yellow")
    return 0
