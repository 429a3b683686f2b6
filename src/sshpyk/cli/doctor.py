"""`sshpyk doctor`: the whole way to a host or a kernel, step by step, and what mends it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..jupyter import kernelspec
from ..jupyter.places import server_of
from ..server.address import is_url
from ..transport.entrance import expand
from . import described
from .connect import add_ssh_options
from .onserver import of_url
from .options import COMMANDS
from .serverwalk import ServerWalk
from .terminal import Terminal

if TYPE_CHECKING:
    from .steps import Step
    from .walk import Walk

DESCRIPTION = """\
Walk the whole way to a host, or that of a kernel, and say for each step whether it holds, how long
it took and, where it doesn't, what mends it. Without a name: the ways of all kernels on hosts.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("target", nargs="?", metavar="HOST|KERNEL", help="whose way to walk")
    add_ssh_options(parser)
    parser.add_argument("--via", metavar="COMMAND", help="the command that leads there, not ssh")
    parser.add_argument("--inside", metavar="COMMAND", help="the same, on HOST")
    parser.add_argument("--remote-python", metavar="PATH", help="the Python on HOST that is used")
    parser.add_argument("--no-launch", action="store_true", help="start no kernel as a trial")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    walks = [_walk(arguments, target) for target in _targets(arguments)]
    for walk in walks:
        if not arguments.json:
            terminal.say(walk.title, "bold")
        for step in walk.steps(terminal):
            if not arguments.json:
                _show(terminal, step)
        if not arguments.json:
            terminal.say()
    if arguments.json:
        terminal.raw(described.write([walk.to_json() for walk in walks], 1))
    elif not walks:
        terminal.note("No kernels on hosts yet: sshpyk add HOST, or sshpyk doctor HOST")
    return int(any(walk.is_bad for walk in walks))


def _targets(arguments: argparse.Namespace) -> list[str]:
    if arguments.via is not None:
        return [""]
    if arguments.target is not None:
        return [arguments.target]
    ours = (spec for spec in kernelspec.all_specs().values() if spec.is_ours)
    return [spec.name for spec in ours]


def _walk(arguments: argparse.Namespace, target: str) -> Walk | ServerWalk:
    from .walk import Walk

    spec = kernelspec.all_specs().get(target.lower())
    if spec is not None and spec.is_ours:
        config = dict(spec.config)
        if (address := server_of(config)) is not None:
            return ServerWalk(address, spec, launch=not arguments.no_launch)
    elif is_url(target):
        return ServerWalk(of_url(target).address, None, launch=False)
    else:
        command = expand(target)
        config = {"ssh_host_alias": target} if command is None else {"via": command}
        spec = None
    for name in ("ssh", "ssh_config", "remote_python", "via", "inside"):
        given = getattr(arguments, name)
        if given:
            config[name] = expand(given) or given if name in COMMANDS else given
    return Walk(config, spec, launch=not arguments.no_launch)


def _show(terminal: Terminal, step: Step) -> None:
    took = f"  [{step.seconds:.2f} s]" if step.seconds >= 0.005 else ""
    terminal.marked(step.mark, step.text + took, indent=2, label=step.what)
    if step.fix:
        terminal.say("      → " + step.fix.strip().replace("\n", "\n        "), "yellow")
