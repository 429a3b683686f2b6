"""`sshpyk collect`: put output that nobody saw into the notebook whose cells made it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from typing import Any

from .. import errors
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
    notebook = _read(path)
    place, id = wait_for(logs.find(arguments.name, arguments.hosts, arguments.ssh_config))
    outputs = wait_for(logs.outputs(place, id))
    count, homeless = missed.collect(notebook, outputs.lines, id)
    if count:
        copy = _copy_name(path)
        shutil.copy2(path, copy)
        _write(path, notebook)
        terminal.say(f"{path}: {count} outputs collected. As it was: {copy}")
    else:
        terminal.say(f"{path}: there is nothing new to collect.")
    for code in homeless:
        line = code.strip().partition("\n")[0][:60]
        terminal.note(f"No cell has the code that begins with: {line}", "yellow")
    return 0


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            notebook = json.load(file)
    except OSError as error:
        raise errors.Unreadable(path=path, reason=error.strerror) from None
    except ValueError:
        notebook = None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise errors.SettingsError(text=f"{path} is not a notebook of format 4.")
    return notebook


def _copy_name(path: str) -> str:
    """A name beside the notebook's that nothing has yet."""
    stem = path.removesuffix(".ipynb")
    number = 1
    while os.path.exists(copy := f"{stem}.before-collect-{number}.ipynb"):
        number += 1
    return copy


def _write(path: str, notebook: dict[str, Any]) -> None:
    """All of it or nothing."""
    directory = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=directory, prefix=".sshpyk-", delete=False
    ) as file:
        json.dump(notebook, file, indent=1, ensure_ascii=False)
        file.write("\n")
    shutil.copymode(path, file.name)
    os.replace(file.name, path)
