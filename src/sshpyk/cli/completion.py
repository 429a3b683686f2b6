"""`sshpyk completion`: scripts for shells, and the words that they ask for at each Tab.

argcomplete makes the scripts, and finds out from our parser what may stand at the cursor. What it
can't know is here: the names of hosts, kernels and settings.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence

from argcomplete.completers import BaseCompleter, FilesCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from ..jupyter import kernelspec
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

#: Files that an `Include` may lead to, and how deep: a loop must end.
MOST_FILES = 100
DEEPEST = 16

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
    "unset": _settings,
}


def hosts(config: str | None = None) -> list[str]:
    """The host aliases of ssh's configuration; patterns are none.

    `config` is a path, None for those that ssh reads by itself.
    """
    paths = [config] if config else ["~/.ssh/config", "/etc/ssh/ssh_config"]
    found: dict[str, None] = {}
    seen: set[str] = set()
    for path in paths:
        _read_hosts(os.path.expanduser(path), found, seen, 0)
    return list(found)


def _read_hosts(path: str, found: dict[str, None], seen: set[str], depth: int) -> None:
    if path in seen or depth > DEEPEST or len(seen) >= MOST_FILES:
        return
    seen.add(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        # As ssh reads it: the keyword, then blanks or an equals sign, then words, perhaps quoted.
        keyword, _, rest = re.sub(r"[\s=]+", " ", line.strip(), count=1).partition(" ")
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:
            continue
        if keyword.lower() == "host":
            found.update((word, None) for word in words if not re.search(r"[*?!]", word))
        elif keyword.lower() == "include":
            for word in words:
                # Relative ones are relative to ssh's own directory, wherever the file is.
                base = "/etc/ssh" if path.startswith("/etc/ssh") else os.path.expanduser("~/.ssh")
                for name in sorted(glob.glob(os.path.join(base, os.path.expanduser(word)))):
                    _read_hosts(name, found, seen, depth + 1)
