"""Why a job on a host has not answered: what came instead, and which error that is.

Shells, forced commands and accounts without a shell each say it in words of their own. Pure: from
what was heard to an error, so that a table of real outputs can test it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .. import errors


class Heard(NamedTuple):
    """What came from a host in place of an answer.

    `status` is ssh's exit status, None while the job has not ended; `stdout` and `stderr` are the
    noise, `python` is the path or name of the Python that should have run the job.
    """

    status: int | None
    stdout: str
    stderr: str
    python: str


#: What Python 2 says to the options that start the agent.
_PYTHON_2 = r"Unknown option: -I|-X is reserved for implementation"

#: Accounts that run no commands.
_NO_COMMANDS = (
    r"This service allows sftp connections only",  # sshd with `ForceCommand internal-sftp`
    r"This account is currently not available",  # nologin, unless /etc/nologin.txt has another
    r"(exec|shell|command) request failed on channel",  # ssh, where a server runs no commands
    r"(does not|doesn't) provide shell access|(Shell|Interactive) (access|login) is (disabled|not)",
    r"restricted by rssh|only allow(s|ed) (sftp|scp|rsync|git)\b",
)

#: Where a forced command splits the command line at its spaces, no shell is there to know `exec`;
#: where two shells read it, the second gets our program without its quotes.
_SPLIT = (
    r"\bexec'?:? (not found|No such file or directory|command not found)",
    r"['\"‘’]exec['\"‘’]: No such file or directory",  # nice, env, ionice … of coreutils
    r"failed to execute exec:|cannot run exec\b",  # util-linux, chpst
    r"syntax error near unexpected token|Syntax error: \"\(\" unexpected",
)

#: Programs that want a terminal, which a job does not have.
_TERMINAL = (
    r"open terminal failed: not a terminal|^no sessions$|^no server running on ",  # tmux
    r"Must be connected to a terminal|There is no screen to be (resumed|attached)",  # screen
    r"Error opening terminal",  # ncurses: dialog, and most menus
    r"no job control in this shell",  # bash -i
    r"the input device is not a (TTY|terminal)",  # docker, podman
    r"TERM environment variable not set|[Cc]ould not get terminal attribute",  # clear; zellij
)

#: The first line that is sent is a number. A shell that reads it finds no command of that name.
_TAKEN_BY_SHELL = (
    r"\b\d{4,6}: ([Cc]ommand )?not found|(not found|(?i:unknown) command): '?\d{4,6}\b"
)

#: The Python that was started finds something else than was sent.
_TAKEN_BEFORE = (
    r'File "<string>", line 1, in <module>\n(.*\n)*?(ValueError|zlib\.error|EOFError|TypeError)\b'
)


def explain(heard: Heard) -> tuple[type[errors.SshpykError], dict[str, str]]:
    """The class of the error, one of `errors`, and those of its fields that are known from here."""
    said = heard.stdout + "\n" + heard.stderr
    old = re.search(r"SSHPYK2-OLD (\d+\.\d+)", heard.stdout)
    if old or re.search(_PYTHON_2, heard.stderr):
        return errors.PythonTooOld, {"version": old.group(1) if old else "2"}
    if _matches(said, *_NO_COMMANDS):
        return errors.NoCommands, {}
    if _matches(said, _TAKEN_BY_SHELL) or _matches(heard.stderr, _TAKEN_BEFORE):
        return errors.InputTaken, {}
    if _matches(heard.stderr, *_SPLIT):
        return errors.CommandSplit, {}
    if _is_python_missing(heard):
        return errors.PythonMissing, {}
    # Python itself may have ended otherwise, behind noise of that kind.
    if heard.status in (None, 0, 1) and _matches(said, *_TERMINAL):
        return errors.WantsTerminal, {}
    if heard.status is not None and not said.strip():
        return errors.EndedSilently, {"status": str(heard.status)}
    return errors.StrangeAnswer, {}


def explain_wait(heard: Heard) -> type[errors.SshpykError]:
    """The class of the error for a job that has not ended and has not answered in time."""
    kind, _ = explain(heard)
    is_known = kind in (errors.NoCommands, errors.InputTaken, errors.WantsTerminal)
    return kind if is_known else errors.ShellWaits


def _matches(text: str, *patterns: str) -> bool:
    return any(re.search(pattern, text, re.MULTILINE) for pattern in patterns)


def _is_python_missing(heard: Heard) -> bool:
    # csh tells it by words alone.
    program = re.escape(heard.python.rpartition("/")[2])
    missing = rf"{program}: (Command not found|Permission denied)"
    return heard.status in (126, 127) or _matches(heard.stderr, missing)
