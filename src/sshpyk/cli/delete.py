"""`sshpyk delete`: remove kernelspecs of ours."""

from __future__ import annotations

import argparse

from .. import errors
from ..jupyter import kernelspec
from .edit import ours
from .terminal import Terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a kernel that `sshpyk add` made")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it: all of them, or none where one can't be."""
    specs = [ours(name) for name in dict.fromkeys(name.lower() for name in arguments.names)]
    for spec in specs:
        try:
            kernelspec.remove(spec)
        except OSError as error:
            raise errors.SettingsError(
                text=f"{spec.directory} can't be removed: {error.strerror}."
            ) from None
        terminal.say(f"{spec.name}: removed {spec.directory}")
    return 0
