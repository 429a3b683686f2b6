"""Answers ssh's questions out of the system's keyring: the program that SSH_ASKPASS names.

ssh runs it with its question as the only argument, and reads the answer from its stdout. A secret
goes from the keyring, or from a person at the terminal or behind a private socket, to ssh, and to
nothing else. Only passwords and
passphrases are kept; one-time codes and whether to trust a host key are for a person to say, and
where there is none, nobody does.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import json
import os
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator

from ..private import runtime_directory

#: What our entries are filed under.
SERVICE = "sshpyk"

#: Who answers: only the keyring, or also a person at the terminal, whose answers the keyring then
#: keeps, or one behind the socket `SOCKET`, who says whether it should.
KEYRING, PERSON, BEHIND_SOCKET = "keyring", "person", "socket"

#: The variable with the path of that socket. A question comes in as a line of JSON; the answer goes
#: out as an object with `answer` and `keep`, or nothing where there is none.
SOCKET = "SSHPYK_ASKPASS_SOCKET"

#: Options with which ssh asks at all, and each question once.
OPTIONS = ("-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1")

_HOST, _MODE, _ASKED = "SSHPYK_ASKPASS_HOST", "SSHPYK_ASKPASS_MODE", "SSHPYK_ASKPASS_ASKED"

#: `python -m` would look for modules in the current directory first, which may be anybody's.
_START = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from sshpyk.ssh.askpass import main; sys.exit(main())"
)


def has_keyring() -> bool:
    """Whether the optional `keyring` is installed."""
    return importlib.util.find_spec("keyring") is not None


@contextlib.contextmanager
def environment(host: str, mode: str) -> Iterator[dict[str, str]]:
    """The variables that have ssh ask this program; they hold no secret."""
    with tempfile.TemporaryDirectory(dir=runtime_directory(), prefix="askpass-") as directory:
        program = os.path.join(directory, "askpass")
        command = shlex.join([sys.executable, "-c", _START])
        with open(os.open(program, os.O_CREAT | os.O_WRONLY, 0o700), "w") as file:
            file.write(f'#!/bin/sh\nexec {command} "$@"\n')
        yield {
            "SSH_ASKPASS": program,
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": os.environ.get("DISPLAY", ":0"),  # OpenSSH before 8.4 wants one
            _HOST: host,
            _MODE: mode,
            _ASKED: os.path.join(directory, "asked"),
            SOCKET: os.path.join(directory, "socket"),
        }


def main() -> int:
    """Answer the question in `sys.argv`; the exit status is 1 where there is no answer."""
    question = sys.argv[1] if len(sys.argv) > 1 else ""
    if os.environ.get("SSH_ASKPASS_PROMPT") == "none":
        return 0  # a message, such as to touch a security key
    person = os.environ.get(_MODE) != KEYRING
    if is_secret(question):
        reply = _secret(question, person)
    else:
        reply = _from_person(question)[0] if person else None
    if reply is None:
        return 1
    sys.stdout.write(reply + "\n")
    return 0


def is_secret(question: str) -> bool:
    """Whether ssh asks for what stays the same and may be kept."""
    text = question.lower()
    once = r"one.?time|otp|verification|passcode|token|code|new password|retype|yes/no"
    return bool(re.search(r"password|passphrase", text)) and not re.search(once, text)


def entry_name(question: str, host: str) -> str:
    """Whose secret it is: user@host, or a key's path, as ssh says it; otherwise the host's."""
    for pattern in (r"^\((\S+@[^)\s]+)\)", r"(\S+@\S+)'s password", r"for key '([^']+)'"):
        found = re.search(pattern, question)
        if found:
            return found.group(1)
    return host


def forget(environment: dict[str, str]) -> None:
    """Take what a person has just given out of the keyring again: it was wrong."""
    import keyring

    for line in _asked(environment[_ASKED]):
        if line.startswith("new "):
            with contextlib.suppress(Exception):  # it may be gone already
                keyring.delete_password(SERVICE, line[4:])


def gave(environment: dict[str, str]) -> bool:
    """Whether the keyring had anything to say."""
    return bool(_asked(environment[_ASKED]))


def kept(environment: dict[str, str]) -> list[str]:
    """Whose secrets the keyring keeps since then."""
    return [line[4:] for line in _asked(environment[_ASKED]) if line.startswith("new ")]


def _secret(question: str, person: bool) -> str | None:
    name = entry_name(question, os.environ.get(_HOST, ""))
    asked = _asked(os.environ.get(_ASKED, ""))
    if f"old {name}" not in asked and f"new {name}" not in asked:
        found = _in_keyring("get_password", name)
        if found is not None:
            _remember(f"old {name}")
            return str(found)
    if not person:
        return None
    reply, keep = _from_person(question)
    if reply and keep:
        _remember(f"new {name}")
        _in_keyring("set_password", name, reply)
    return reply


def _in_keyring(method: str, *arguments: str) -> object:
    """What the keyring answers; None where it can't: there is none, it is locked, no D-Bus."""
    if not has_keyring():
        return None
    try:
        import keyring

        return getattr(keyring, method)(SERVICE, *arguments)
    except Exception as error:  # a backend may raise anything
        print(f"sshpyk: the keyring can't be used: {type(error).__name__}", file=sys.stderr)
        return None


def _from_person(question: str) -> tuple[str | None, bool]:
    """What a person answers, None where nobody does; whether the keyring should keep it."""
    try:
        if os.environ.get(_MODE) == BEHIND_SOCKET:
            return _behind_socket(question)
        if "yes/no" not in question:
            return getpass.getpass(question), True
        with open("/dev/tty", "r+") as terminal:
            terminal.write(question)
            terminal.flush()
            return terminal.readline().rstrip("\n"), False
    except (OSError, EOFError, KeyboardInterrupt):
        return None, False


def _behind_socket(question: str) -> tuple[str | None, bool]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SOCKET])
        connection.sendall(json.dumps(question).encode() + b"\n")
        with connection.makefile("r", encoding="utf-8") as answers:
            text = answers.read()
    if not text:
        return None, False
    answer = json.loads(text)
    return answer["answer"], answer["keep"]


def _asked(path: str) -> list[str]:
    """What was asked for since ssh began, so that a wrong answer isn't given twice."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _remember(line: str) -> None:
    with (
        contextlib.suppress(OSError),
        open(os.environ.get(_ASKED, "/dev/null"), "a", encoding="utf-8") as file,
    ):
        file.write(line + "\n")
