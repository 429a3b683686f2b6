"""`sshpyk completion`: scripts for shells, and the words that they ask for at each Tab."""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence

from ..jupyter import kernelspec
from .terminal import Terminal

DESCRIPTION = """\
Print the completion script of a shell. To have it always, put this into the shell's start-up file:

  bash (~/.bashrc)                     eval "$(sshpyk completion bash)"
  zsh (~/.zshrc, behind compinit)      eval "$(sshpyk completion zsh)"
  fish (~/.config/fish/config.fish)    sshpyk completion fish | source
"""

#: Each hands over the words so far, the one under the cursor last, and gets candidates, one a line.
SCRIPTS = {
    "bash": """\
_sshpyk() {
    local IFS=$'\\n' word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=($(sshpyk __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -F _sshpyk sshpyk
""",
    "zsh": """\
_sshpyk() {
    local -a found
    found=("${(@f)$(sshpyk __complete "${(@)words[2,$CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _sshpyk sshpyk
""",
    "fish": """\
function __sshpyk_complete
    set -l words (commandline -opc) (commandline -ct)
    sshpyk __complete $words[2..-1] 2>/dev/null
end
complete -c sshpyk -f -a '(__sshpyk_complete)'
""",
}

#: Where a word is the name of something that we know: positional arguments, then options.
HOSTS = {"add", "connect", "disconnect", "doctor", "ps"}
KERNELS = {"edit", "delete", "doctor"}

#: Files that an `Include` may lead to, and how deep: a loop must end.
MOST_FILES = 100
DEEPEST = 16


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=sorted(SCRIPTS))


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Print the script."""
    terminal.raw(SCRIPTS[arguments.shell])
    return 0


def complete(words: Sequence[str]) -> int:
    """Print what may stand for the last of `words`, each on a line. Never complains."""
    *before, word = words or [""]
    for candidate in sorted(set(_candidates(before, word))):
        if candidate.startswith(word) and not re.search(r"[\s'\"\\$`;&|<>()*?~#]", candidate):
            sys.stdout.write(candidate + "\n")
    return 0


def _candidates(before: Sequence[str], word: str) -> Iterable[str]:
    from . import COMMANDS, make_parser

    command = next((known for known in before if known in COMMANDS), "")
    if not command:
        return [*COMMANDS, "--help", "--version", "--verbose"]
    actions = _actions(make_parser(command), command)
    flags = {flag: action for action in actions for flag in action.option_strings}
    last = flags.get(before[-1])
    if last is not None and last.nargs != 0:
        if last.choices is not None:
            return [str(choice) for choice in last.choices]
        if last.dest == "ssh_host_alias":
            return hosts(_config_in(before))
        if last.dest in ("name_option", "kernel_name"):
            return _kernels()
        if last.dest == "unset":
            from .options import declared

            return [option.flag[2:] for option in declared()]
        return []
    if word.startswith("-"):
        return [flag for flag in flags if flag.startswith("--")]
    found: list[str] = []
    if command in HOSTS:
        found += hosts(_config_in(before))
    if command in KERNELS:
        found += _kernels()
    if command == "completion":
        found += SCRIPTS
    return found


def _actions(parser: argparse.ArgumentParser, command: str) -> list[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: list[argparse.Action] = action.choices[command]._actions
            return found
    return []


def _kernels() -> list[str]:
    return [spec.name for spec in kernelspec.all_specs().values() if spec.is_ours]


def _config_in(before: Sequence[str]) -> str | None:
    for flag, value in itertools.pairwise(before):
        if flag == "--ssh-config":
            return value
    return None


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
