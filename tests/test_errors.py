"""What users read when something fails: lines that fit a dialog, the command on its own."""

from __future__ import annotations

import inspect
import re
import shlex
import string
import subprocess
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.layout import COLUMNS, hold, let_go, wrap

SSH = "ssh -F '/home/a user with a long name/.ssh/config of the cluster' somebody@login.example.org"

#: Long values, as they occur, of every field that a template shows.
FIELDS: dict[str, Any] = {
    "text": "The settings of this kernel contradict each other in more than one way, it seems.",
    "advice": "Correct them where they are written, which is the file that was named above:",
    "command": SSH,
    "details": "Warning: " + "what the other side said stays as it is " * 4 + "\n\n  indented",
    "host": "somebody@a-login-node-with-a-long-name.cluster.example.org",
    "hosts": "'somebody@a host' another.example.org",
    "path": "/home/a user with a long name/.local/state/sshpyk/kernels/0123456789abcdef",
    "python": "/home/a user with a long name/miniforge3/envs/deep learning/bin/python3.12",
    "program": "/home/a user with a long name/miniforge3/envs/deep learning/bin/python3.12",
    "ssh": "/opt/an ssh of our own/bin/ssh",
    "name": "a-kernel-with-a-long-name-as-they-are-made-of-hosts-and-environments",
    "names": ", ".join(f"kernel-{number}" for number in range(40)),
    "kernel": "a-kernel-with-a-long-name-as-they-are-made-of-hosts-and-environments",
    "id": "0123456789abcdef0123456789abcdef",
    "node": "node-0123.rack-17.cluster.example.org",
    "reason": "Too many levels of symbolic links",
    "local": "/home/a user with a long name/.cache/dashboards/a dashboard.sock",
    "port": "/home/a user with a long name/.cache/dashboards/another dashboard.sock",
    "free": 65535,
    "count": 3,
    "size": 112,
    "connect": "--ssh-config '/home/a user/.ssh/config of the cluster' somebody@login.example.org",
    "copy": "-F '/home/a user/.ssh/config of the cluster' somebody@login.example.org",
    "ask": SSH + " -o StrictHostKeyChecking=ask",
    "seconds": 30.0,
    "status": 254,
    "start": "podman start a-container-with-a-long-name-as-compose-makes-them-of-services",
    "show": "kubectl get pods --all-namespaces",
    "stage": "waiting for the kernel to open its sockets, which takes long the first time",
    "version": "3.6",
    "owner": 1001,
    "how": "signal 9: killed, perhaps out of memory, or by an administrator of the host",
    "why": "its host was restarted, or its agent was killed, at 2026-01-01 12:00:00",
    "scheduler": "Slurm",
    "job": "12345678",
    "remote": "sinfo -o '%P %l %D %c %m %G'",
    "expected": "It is expected to start at 2026-01-01 14:05",
    "allocation": "gpu-3fa21c --host somebody@a-login-node-with-a-long-name.cluster.example.org",
    "what": "its answer has no field that says where it listens, or one of a wrong kind",
}

ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.SshpykError)
]

#: Programs outside of sshpyk know these.
CODES = {
    "agent-defect",
    "agent-silent",
    "allocation-ended",
    "ambiguous",
    "authentication-failed",
    "code-raised",
    "command-split",
    "connection-lost",
    "connection-refused",
    "encrypted",
    "ended-at-once",
    "ended-silently",
    "endless-noise",
    "forgotten-by-agent",
    "host-error",
    "host-key-changed",
    "host-key-unknown",
    "input-taken",
    "install-failed",
    "job-refused",
    "kernel-died",
    "kernel-exists",
    "kernel-gone",
    "launch-timeout",
    "limited",
    "link-closed",
    "login-not-finished",
    "login-refused",
    "needs-person",
    "never-starts",
    "no-agent",
    "no-allocation",
    "no-commands",
    "no-curve",
    "no-directory",
    "no-forwarding",
    "no-holder",
    "no-host",
    "no-input",
    "no-ipykernel",
    "no-kernel",
    "no-kernelspec",
    "no-kernelspecs",
    "no-local-socket",
    "no-resources",
    "no-room",
    "no-run",
    "no-scheduler",
    "no-shell",
    "no-ssh",
    "no-ssh-config",
    "no-such-command",
    "no-such-kernel",
    "no-such-place",
    "not-attachable",
    "nobody-listens",
    "nobodys-port",
    "not-let-in",
    "not-logged-in",
    "not-ours",
    "not-private",
    "not-running",
    "not-saved",
    "not-usable",
    "not-writable",
    "not-your-port",
    "nothing-ready",
    "nothing-there",
    "old-agent",
    "other-node",
    "other-place",
    "port-in-use",
    "port-unreached",
    "program-missing",
    "python-missing",
    "python-too-old",
    "remote-error",
    "scheduler-down",
    "scheduler-error",
    "scheduler-failed",
    "scheduler-strange",
    "scheduler-too-old",
    "settings-error",
    "setup-failed",
    "shell-waits",
    "slow-ssh-config",
    "sshpyk-error",
    "still-queued",
    "strange-agent",
    "strange-answer",
    "through-terminal",
    "too-much-output",
    "unknown-host",
    "unreachable",
    "unreadable",
    "unwritable",
    "wants-terminal",
}


def made(kind: type[errors.SshpykError], **fields: object) -> errors.SshpykError:
    return kind(**{**FIELDS, **fields})


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_lines_fit_and_the_command_stands_alone(kind: type[errors.SshpykError]) -> None:
    error = made(kind)
    lines = str(error).split("\n")
    details = error.details.split("\n")
    assert lines[-len(details) :] == details, "what the other side said, unchanged, comes last"
    told = lines[: -len(details)]
    commands = [f"    {line}" for line in error.command.splitlines()]
    count = len(told) - len(commands)
    assert told[count:] == commands, "commands follow the sentences, each in one piece"
    assert count > 0
    assert all(len(line) <= COLUMNS for line in told[:count])
    assert not any(line.startswith(" ") or line.endswith(" ") for line in told[:count])
    assert " ".join(told[:count]) == " ".join(filter(None, (error.what, error.advice)))


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_no_name_is_broken(kind: type[errors.SshpykError]) -> None:
    used = {
        name
        for template in (kind.sentence, kind.next_step)
        for _, name, _, _ in string.Formatter().parse(template)
        if name in errors.NAMES
    }
    for name in used:
        whole = str(FIELDS[name])
        shown = repr(whole) if f"{{{name}!r}}" in kind.sentence else whole
        assert any(shown in line for line in str(made(kind)).split("\n")), name


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_nothing_but_details_makes_a_line_or_steers_a_terminal(
    kind: type[errors.SshpykError],
) -> None:
    """A host may not put a command of its own where ours stands."""
    trap = "x\n    rm -rf ~\n\x1b[2J\u202e"
    fields = {name: trap for name, value in FIELDS.items() if isinstance(value, str)}
    ours = ("command", "connect", "copy", "ask", "hosts", "start", "show", "remote", "allocation")
    trusted = {name: FIELDS[name] for name in ours}
    error = made(kind, **{**fields, **trusted})
    told = str(error).removesuffix(error.details)
    assert not re.search(r"^\s*rm -rf", told, re.MULTILINE)
    assert not re.search("[\x1b\u202e]", str(error) + "".join(error.to_json().values()))


def test_what_a_host_says_is_one_word_of_a_command() -> None:
    error = errors.NotPrivate(host="h", path="/x; touch y", owner=1, command="ssh h")
    *ssh, remote = shlex.split(error.command)
    assert ssh == ["ssh", "h"]
    assert shlex.split(remote) == ["mv", "/x; touch y", "/x; touch y.old"]
    home = errors.NoIpykernel(host="h", python="~/my env/bin/python", command="ssh h")
    assert shlex.split(home.command)[2] == "~/'my env/bin/python' -m pip install ipykernel"


@pytest.mark.parametrize("remote", ["ls", "ls 'a b'", "echo '$HOME'", 'it\'s `x` \\ "y" !'])
def test_a_remote_command_is_one_word(remote: str) -> None:
    assert shlex.split(errors.on_host("ssh h", remote)) == ["ssh", "h", remote]
    typed = errors.on_host("printf %s", remote)
    done = subprocess.run(["sh", "-c", typed], capture_output=True, text=True, check=True)
    assert done.stdout == remote


def test_codes_are_stable() -> None:
    assert {kind.code for kind in ERRORS} == CODES
    for code, from_agent in errors.FROM_AGENT.items():
        assert errors.from_agent("h", {**FIELDS, "error": code}).code == code == from_agent.code


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.code)
def test_json(kind: type[errors.SshpykError]) -> None:
    told = made(kind).to_json()
    assert list(told) == ["code", "what", "advice", "command", "details"]
    assert all(type(text) is str for text in told.values())
    assert told["code"] == kind.code
    assert told["what"]


def test_a_text_of_its_own() -> None:
    error = errors.SettingsError(text="No.", advice="Try:", command="sshpyk list", details=" why\n")
    assert str(error) == "No. Try:\n    sshpyk list\nwhy"
    assert error.line == "No. Try: sshpyk list"
    assert str(errors.SettingsError(text="No.")) == "No."


def test_wrapping() -> None:
    quoted = "'a name of some length, in quotes'"
    command = "`sshpyk edit NAME --launch-timeout 30`"
    text = f"can't {'x' * 60} ({quoted}) {command}. {hold('/a path')}\n{'y' * 100} end"
    assert wrap(text).split("\n") == [
        f"can't {'x' * 60}",
        f"({quoted}) {command}.",
        "/a path",
        "y" * 100,
        "end",
    ]
    assert let_go(hold("a b\tc")) == "a b c"
    assert wrap("") == ""


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("sshpyk: line 2: module: command not found", "module"),
        ("sh: 2: conda: not found", "conda"),
        ("zsh:1: command not found: ml", "ml"),
        ("ERROR: Unable to locate a modulefile for 'cuda'\nfile not found", ""),
    ],
)
def test_what_only_a_profile_brings(said: str, name: str) -> None:
    advice = errors.setup_advice(said)
    assert ("--login-shell" in advice) == bool(name)
    assert f"`{name}`" in advice or advice == "Correct them (--setup)."
