"""`sshpyk disconnect`: close the connection to a host."""

from __future__ import annotations

import argparse

from .connect import add_node_option, add_ssh_options, destination, needs_no_login
from .terminal import Terminal

DESCRIPTION = """\
Close the connection that all kernels on a host share. Kernels in use stay alive; where a key
suffices to log in they connect anew at once.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("host", metavar="HOST", help="what one gives to ssh")
    add_ssh_options(parser)
    add_node_option(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from ..ssh.master import Master
    from . import wait_for

    if needs_no_login(arguments, terminal):
        return 0
    master = Master(destination(arguments))
    was_there = wait_for(master.exit())
    host = arguments.host
    terminal.say(f"{host}: {'disconnected' if was_there else 'was not connected'}")
    return 0
