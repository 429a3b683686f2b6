"""What commands that enter a place say where they don't get in, and which error that is. Pure.

The texts are those of docker, podman, kubectl, lxc, sudo, nsenter and tsh. None is translated but
sudo's, whose words are looked for in English only.
"""

from __future__ import annotations

import re

from .. import errors
from .entrance import Entrance
from .unanswered import Heard

#: What is said where the way goes through a terminal, before anything of ours is sent through it.
TERMINAL = "SSHPYK2-TTY"

#: Goes before what is to run in a place. A terminal would echo what we send, end lines otherwise
#: and take some bytes for keys. It must mean the same to sh, bash, zsh, csh, tcsh and fish.
GUARD = f"test -t 0 && echo {TERMINAL} && exit 4;"

#: A line that says so: behind what the terminal echoes, and nothing behind it.
_IS_TERMINAL = rf"{TERMINAL}\r?$"

#: The Python that was started there has read nothing, and its input has ended.
_NO_INPUT = r"ValueError: invalid literal for int\(\) with base 10: b''"

_TABLE: tuple[tuple[str, type[errors.SshpykError]], ...] = (
    (_IS_TERMINAL, errors.ThroughTerminal),
    (r"(?i:container) \S+ is (not running|paused|restarting)", errors.NotRunning),
    (r"container state improper|Instance is not running", errors.NotRunning),
    (r"cannot exec (in|into) a (container in a completed|stopped)", errors.NotRunning),
    (r"unable to upgrade connection: container not found", errors.NotRunning),
    (r"(?i:no such container)|no container with name or ID", errors.NoSuchPlace),
    (r"\(NotFound\): (pods|namespaces)|pods? \S+ not found|Instance not found", errors.NoSuchPlace),
    (r"nsenter: cannot open /proc/\d+/ns/\w+: No such file", errors.NoSuchPlace),
    (r"sudo: .*(password|terminal|no tty)|doas: (a tty|Auth)|su: must be run", errors.NotLoggedIn),
    (r"must be logged in to the server|\((Unauthorized|Forbidden)\)", errors.NotLoggedIn),
    (r"tsh login|not logged in|gcloud auth login|[Rr]eauthentication", errors.NotLoggedIn),
    (r"exec: \"?sh\"?: executable file not found|[`'\"]sh['\"]: No such file", errors.NoShell),
    # Last: some warn of it, and then fail for another reason.
    (r"[Tt]he input device is not a (TTY|terminal)|Unable to use a TTY", errors.ThroughTerminal),
    (_NO_INPUT, errors.NoInput),
)


def is_terminal(lines: list[bytes]) -> bool:
    """Whether one of `lines` says that the way goes through a terminal."""
    return any(line.rstrip().endswith(TERMINAL.encode()) for line in lines)


def explain(
    entrance: Entrance, heard: Heard, kind: type[errors.SshpykError], fields: dict[str, str]
) -> tuple[type[errors.SshpykError], dict[str, str]]:
    """The error, with the fields that are known from here, for a command that entered `entrance`.

    `kind` and `fields` are what `unanswered` makes of it.
    """
    said = f"{heard.stdout}\n{heard.stderr}"
    start, show = entrance.container_commands()
    known = {"program": entrance.program, "start": start, "show": show}
    for text, found in _TABLE:
        if re.search(text, said, re.MULTILINE):
            return found, known
    program = re.escape(entrance.program.rpartition("/")[2])
    missing = rf"\b{program}['\"’]?: ([\w ]*(?i:not found)|No such file|Permission denied)"
    missing += rf"|not found: {program}$|Unknown command: {program}$"
    if heard.status in (1, 126, 127) and re.search(missing, heard.stderr, re.MULTILINE):
        return errors.NoSuchCommand, known
    if heard.status is not None and kind in (errors.StrangeAnswer, errors.EndedSilently):
        return errors.EndedAtOnce, {**known, "status": str(heard.status)}
    return kind, fields
