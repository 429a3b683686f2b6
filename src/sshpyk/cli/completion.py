"""`sshpyk completion`: scripts for shells, and the words that they ask for at each Tab.

argcomplete makes the scripts, and finds out from our parser what may stand at the cursor. What it
can't know is here: the names of hosts, kernels and settings.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

from argcomplete.completers import BaseCompleter, FilesCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from ..jupyter import kernelspec
from ..ssh.aliases import hosts
from .terminal import Terminal

DESCRIPTION = """\
Print the completion script of a shell. To have it always, put this into the shell's start-up file:

  bash (~/.bashrc)                     eval "$(sshpyk completion bash)"
  zsh (~/.zshrc, after compinit)       eval "$(sshpyk completion zsh)"
  fish (~/.config/fish/config.fish)    sshpyk completion fish | source
"""

SHELLS = ("bash", "fish", "zsh")


#: How arguments that are paths are called in help.
PATHS = re.compile(r"PATH|DIR|FILE|NOTEBOOK")

#: What some shell would obey, or split a word at; no name with these is offered.
UNSAFE = re.compile(r"[\s'\"\\$`;&|<>()*?~#]")

#: Gives names from the words before the cursor.
Names = Callable[[Sequence[str]], Iterable[str]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the script."""
    terminal.raw(shellcode(["sshpyk"], shell=arguments.shell))
    return 0


def answer() -> None:
    """Tell the shell's script what may stand at the cursor, and end the process."""
    from . import command_in, make_parser

    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][1:]
    command = command_in(words)
    parser = make_parser(command)
    for action in _actions(parser, command):
        names = NAMES.get(f"{command} {action.dest}") or NAMES.get(action.dest)
        if names is not None:
            action.completer = Completer(names, words)  # type: ignore[attr-defined]  # argcomplete's
        elif isinstance(action.metavar, str) and PATHS.search(action.metavar):
            action.completer = FilesCompleter()  # type: ignore[attr-defined]  # argcomplete's
    CompletionFinder()(
        parser,
        always_complete_options=False,
        default_completer=Completer(lambda words: (), words),
        exit_method=sys.exit,
    )


class Completer(BaseCompleter):
    """Names, as argcomplete asks for them; `words` are those before the cursor."""

    def __init__(self, names: Names, words: Sequence[str]) -> None:
        self._names = names
        self._words = words

    def __call__(self, **asked: object) -> Iterable[str]:
        return sorted({name for name in self._names(self._words) if not UNSAFE.search(name)})


def _actions(parser: argparse.ArgumentParser, command: str) -> list[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and command in action.choices:
            found: list[argparse.Action] = action.choices[command]._actions
            return found
    return []


def _hosts(words: Sequence[str]) -> Iterable[str]:
    # From the words, because argcomplete forgets what it has read where more is needed.
    given = (value for flag, value in itertools.pairwise(words) if flag == "--ssh-config")
    return hosts(next(given, None))


def _kernels(words: Sequence[str]) -> Iterable[str]:
    return [spec.name for spec in kernelspec.all_specs().values() if spec.is_ours]


def _hosts_and_kernels(words: Sequence[str]) -> Iterable[str]:
    return [*_hosts(words), *_kernels(words)]


def _settings(words: Sequence[str]) -> Iterable[str]:
    from .options import declared

    return [option.flag[2:] for option in declared()]


def _allocations(words: Sequence[str]) -> Iterable[str]:
    from ..jupyter.places import destination_of
    from ..schedulers.base import Allocation

    known = (destination_of(spec.config) for spec in kernelspec.all_specs().values())
    return [one.name for one in known if isinstance(one, Allocation)]


#: Where a word is the name of something: the name of the argument, with its command where that
#: matters.
NAMES: dict[str, Names] = {
    "host": _hosts,
    "hosts": _hosts,
    "ssh_host_alias": _hosts,
    "target": _hosts_and_kernels,
    "port place": _hosts,
    "browse place": _hosts_and_kernels,
    "edit name": _kernels,
    "name_option": _kernels,
    "kernel_name": _kernels,
    "delete names": _kernels,
    "run on": _kernels,
    "allocations names": _allocations,
    "unset": _settings,
}
