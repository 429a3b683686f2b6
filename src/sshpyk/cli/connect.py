"""`sshpyk connect`: log in to a host with a person at the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..server.address import is_url
from .terminal import Terminal

if TYPE_CHECKING:
    from ..ssh.command import Destination

DESCRIPTION = """\
Log in to a host once, with a person at the terminal: password, one-time code, passphrase of a key,
a host key to confirm. Kernels on it then start, and those that wait for it go on by themselves.
HOST may be the URL of a Jupyter Server: its token or password is asked for and kept.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("host", metavar="HOST", help="what one gives to ssh")
    add_ssh_options(parser)
    add_node_option(parser)
    parser.add_argument(
        "--keyring",
        action="store_true",
        help="keep passwords and passphrases in the system's keyring, and take them from there, "
        "so that connecting again needs no person",
    )


def add_ssh_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how ssh reaches a host."""
    parser.add_argument("--ssh-config", metavar="PATH", help="path of the ssh configuration")
    parser.add_argument("--ssh", metavar="PATH", help="path of the ssh program, or paramiko")


def add_node_option(parser: argparse.ArgumentParser) -> None:
    """The option that names one of several machines behind a host's name."""
    parser.add_argument(
        "--node",
        metavar="NAME",
        help="the very machine, where HOST stands for several login nodes",
    )


def destination(arguments: argparse.Namespace) -> Destination:
    """The host that the arguments name. Raises `SettingsError`."""
    from ..ssh.command import Destination  # which takes asyncio along

    found = Destination(arguments.host, arguments.ssh, arguments.ssh_config, arguments.node)
    found.check()
    return found


def needs_no_login(arguments: argparse.Namespace, terminal: Terminal) -> bool:
    """Whether HOST is a place to which a command leads; says so."""
    from ..jupyter import kernelspec
    from ..jupyter.places import destination_of
    from ..transport.entrance import Entrance, expand

    host = arguments.host
    known = (destination_of(spec.config) for spec in kernelspec.all_specs().values())
    is_known = any(isinstance(one, Entrance) and one.host == host for one in known)
    if not is_known and expand(host) is None:
        return False
    terminal.say(f"{host}: there is nothing to log in to; a command leads there.")
    terminal.note("Where that asks for a login of its own, log in as it wants, in a terminal.")
    return True


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    if is_url(arguments.host):
        from . import servers

        return servers.connect(arguments, terminal)
    from ..ssh.connect import connect, is_connected
    from ..ssh.master import Master
    from . import wait_for

    if needs_no_login(arguments, terminal):
        return 0
    to = destination(arguments)
    if to.is_by_paramiko:
        from .without_ssh import connect as log_in

        return log_in(to, terminal, keep=arguments.keyring)
    master = Master(to)
    host = arguments.host
    if wait_for(is_connected(master)):
        terminal.say(f"{host}: connected already")
        return 0
    kept = wait_for(connect(master, keep=arguments.keyring))
    terminal.say(f"{host}: connected")
    for name in kept:
        terminal.say(f"{host}: the keyring keeps the secret of {name}")
    terminal.note("Kernels that wait for it go on by themselves.")
    return 0
