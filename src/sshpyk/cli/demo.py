"""`sshpyk demo`: all that sshpyk promises, shown in a minute."""

from __future__ import annotations

import argparse
import importlib.util
import shutil

from .. import errors
from .terminal import Terminal

DESCRIPTION = """\
Show in a minute what becomes of a kernel whose connection breaks, that is interrupted, restarted,
left alone and found again. Without HOST it runs on a throwaway SSH server on this machine. It exits
with 0 only where everything held.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("host", nargs="?", metavar="HOST", help="a host of yours")
    parser.add_argument("--ssh-config", metavar="PATH", help="path of the ssh configuration")
    parser.add_argument(
        "--python",
        default="python3",
        metavar="PATH",
        help="the Python on HOST (default: %(default)s)",
    )
    parser.add_argument(
        "--kernel",
        default="python3",
        metavar="NAME",
        help="the kernelspec on HOST (default: %(default)s)",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from ..demo.narrator import Narrator
    from ..demo.place import Place, sandbox
    from ..demo.show import perform
    from ..ssh.command import Destination

    if shutil.which("ssh") is None:
        raise errors.NoSsh(ssh="ssh")  # it shows what becomes of ssh's connection
    narrator = Narrator(terminal)
    if arguments.host is not None:
        destination = Destination(arguments.host, ssh_config=arguments.ssh_config)
        destination.check()
        return int(not perform(narrator, Place(destination, arguments.python, arguments.kernel)))
    if importlib.util.find_spec("ipykernel") is None:
        raise errors.SettingsError(
            text="The demo starts a Python kernel on this machine, and ipykernel is missing.",
            advice="Install it:",
            command="pip install 'sshpyk[demo]'",
        )
    narrator.step("Starting a throwaway SSH server on this machine")
    with sandbox() as (place, port):
        narrator.show(f"it listens on 127.0.0.1 port {port}, and only our key gets in")
        return int(not perform(narrator, place))
