"""The command line: `sshpyk COMMAND …`. Here calls come in and errors go out, and nowhere else.

Each command is a module with `configure(parser)`, which declares its arguments, and
`run(arguments, terminal)`, which does it, returns the exit status and raises `SshpykError`. Only
the module of the command that is called gets imported, and what takes long to import is imported
where it is used: `sshpyk --help` and completion must answer at once.

Exit statuses: 0 done; 1 a problem of the host, the network or the kernel; 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import SettingsError, SshpykError
from ..version import __version__
from .terminal import Terminal

#: Every command: its module in this package, and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "add": ("add", "look at a host and add its kernels to Jupyter"),
    "list": ("listing", "show the kernels of this machine, and check those on hosts"),
    "edit": ("edit", "change the settings of a kernel"),
    "delete": ("delete", "remove kernels that were added"),
    "connect": ("connect", "log in to a host, with a person at the terminal"),
    "disconnect": ("disconnect", "close the connection to a host"),
    "doctor": ("doctor", "walk the whole way to a host or kernel, and say what is wrong"),
    "ps": ("ps", "show the kernels that run on hosts"),
    "top": ("top", "watch what the kernels on hosts use"),
    "allocations": ("allocations", "show what clusters have lent, ask for it, end it"),
    "attach": ("attach", "come back to a kernel that runs on a host"),
    "interrupt": ("interrupt", "interrupt a kernel that runs on a host"),
    "stop": ("stop", "end kernels that run on hosts"),
    "logs": ("logs", "show what a kernel and its agent have written"),
    "port": ("port", "reach a port of a kernel's host, or of any host"),
    "browse": ("browse", "open a Jupyter Server of a host, or its page, in the browser"),
    "collect": ("collect", "put output that nobody saw into its notebook"),
    "run": ("run", "run a notebook or a script in a kernel on a host"),
    "demo": ("demo", "show in a minute what sshpyk does"),
    "completion": ("completion", "print the completion script of a shell"),
}

INTERRUPTED = 130  # as shells have it: 128 + SIGINT

EPILOG = """\
First steps: `sshpyk add HOST`, where `ssh HOST` works, then choose the kernel in Jupyter. If
something is wrong: `sshpyk doctor HOST`.

Exit statuses: 0 done; 1 a problem of the host, the network or the kernel; 2 a mistake in the call.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv` says (default: the process's own); the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:  # set by the scripts that `completion` prints
        importlib.import_module(f"{__name__}.completion").answer()
    arguments = parse(words)
    terminal = Terminal()
    _log(arguments.verbose + arguments.more_verbose)
    try:
        module = importlib.import_module(f"{__name__}.{COMMANDS[arguments.command][0]}")
        status: int = module.run(arguments, terminal)
        sys.stdout.flush()
    except SshpykError as error:
        terminal.failure(error)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        terminal.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has enough. The interpreter must not complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What `words` say. Ends the process where they are wrong, as argparse does."""
    parser = make_parser(command_in(words))
    if command_in(words) == "run" and "--" in words:
        # What follows is the script's, whatever it looks like.
        place = words.index("--")
        arguments = parser.parse_args(words[:place])
        arguments.arguments += words[place + 1 :]
        return arguments
    arguments, rest = parser.parse_known_args(words)
    # argparse takes names up to the first option only: `add HOST --setup LINE NAME` has more.
    lists = ("kernels", "names", "hosts")
    names = next((getattr(arguments, name) for name in lists if hasattr(arguments, name)), None)
    if rest and (names is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if names is not None:
        names.extend(rest)
    return arguments


def make_parser(*commands: str) -> argparse.ArgumentParser:
    """The parser, with the arguments of `commands` only; all commands have their summary."""
    parser = Parser(
        prog="sshpyk",
        description="Jupyter kernels on other machines over SSH, as if they were local.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sshpyk {__version__}")
    _add_verbose(parser, "verbose")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            allow_abbrev=False,
        )
        if name in commands:
            _add_verbose(sub, "more_verbose")
            importlib.import_module(f"{__name__}.{module_name}").configure(sub)
    return parser


class Parser(argparse.ArgumentParser):
    """argparse's parser, which shows the help when it is called without a command."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Before Python 3.13 argparse makes an empty list of `--option=--`.
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "'--' can't be its value")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        if message.endswith("required: COMMAND"):
            self.print_help(sys.stderr)
            self.exit(2)
        super().error(message)


def _add_verbose(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "-v",
        "--verbose",
        dest=name,
        action="count",
        default=0,
        help="log more: -v warnings, -vv what happens, -vvv everything",
    )


def command_in(words: Sequence[str]) -> str:
    """The word that is to be a command's name; empty where there is none."""
    return next((word for word in words if not word.startswith("-")), "")


def _log(verbosity: int) -> None:
    if verbosity:
        import logging

        level = {1: "WARNING", 2: "INFO"}.get(verbosity, "DEBUG")
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def wait_for(work: Any) -> Any:
    """Run a coroutine on the I/O thread, where hosts live, and wait for its result."""
    from ..link import thread

    return thread.wait_for(work)
