"""What hosts have said in place of an answer, as it came, and what is made of it."""

from __future__ import annotations

import pytest

from sshpyk import errors
from sshpyk.transport.unanswered import Heard, explain, explain_wait

PYTHON = "/opt/python/bin/python3"

TAKEN = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
ValueError: invalid literal for int() with base 10: b'x\\x9c\\xd5=\\xdb'
"""

#: Exit status, stdout, stderr.
CASES = [
    (3, "SSHPYK2-OLD 3.6", "", errors.PythonTooOld),
    (2, "", "Unknown option: -I\nusage: python", errors.PythonTooOld),
    (127, "", "bash: line 1: /opt/python/bin/python3: No such file", errors.PythonMissing),
    (126, "", "sh: 1: exec: /opt/python/bin/python3: Permission denied", errors.PythonMissing),
    (1, "", "/opt/python/bin/python3: Command not found.", errors.PythonMissing),  # csh
    (1, "This service allows sftp connections only.\r\n", "", errors.NoCommands),
    (1, "This account is currently not available.\n", "", errors.NoCommands),
    (255, "", "exec request failed on channel 2", errors.NoCommands),
    (1, "", "Hi you! GitHub does not provide shell access.", errors.NoCommands),
    (127, "", "nice: 'exec': No such file or directory", errors.CommandSplit),
    (127, "", "nice: \u2018exec\u2019: No such file or directory", errors.CommandSplit),
    (127, "", "bash: line 1: exec: exec: not found", errors.CommandSplit),
    (127, "", "sh: 1: exec: exec: not found", errors.CommandSplit),
    (2, "", "bash: line 1: syntax error near unexpected token `('", errors.CommandSplit),
    (2, "", 'sh: 1: Syntax error: "(" unexpected', errors.CommandSplit),
    (2, "", "bash: line 1: 9712: command not found", errors.InputTaken),
    (2, "", 'sh: 1: 9712: not found\nsh: 2: Syntax error: "(" unexpected', errors.InputTaken),
    (127, "", "sh: 1: 9712: not found", errors.InputTaken),
    (127, "", "zsh: command not found: 9712", errors.InputTaken),
    (127, "", "fish: Unknown command: 9712", errors.InputTaken),
    (1, "", "9712: Command not found.", errors.InputTaken),  # csh
    (1, "", TAKEN, errors.InputTaken),
    (1, "", "open terminal failed: not a terminal", errors.WantsTerminal),
    (1, "welcome\n", "no sessions\n", errors.WantsTerminal),
    (1, "Must be connected to a terminal.\n", "", errors.WantsTerminal),
    (None, "", "bash: no job control in this shell\n", errors.WantsTerminal),
    (0, "", "", errors.EndedSilently),
    (1, "\n", " ", errors.EndedSilently),
    # Noise that must not be taken for the cause.
    (
        1,
        "",
        'File "<string>", line 1, in <module>\nModuleNotFoundError: zlib',
        errors.StrangeAnswer,
    ),
    (137, "", "open terminal failed: not a terminal", errors.StrangeAnswer),
    (1, "your quota is 9712 of 20000 files", "", errors.StrangeAnswer),
    (None, "", "", errors.StrangeAnswer),
]


@pytest.mark.parametrize(("status", "stdout", "stderr", "expected"), CASES)
def test_the_cause_is_found(
    status: int | None, stdout: str, stderr: str, expected: type[errors.SshpykError]
) -> None:
    kind, fields = explain(Heard(status, stdout, stderr, PYTHON))
    assert kind is expected
    # With what every session knows of itself the message is whole.
    more = {"details": "", "host": "host", "python": PYTHON, "command": "ssh host"}
    assert "host" in str(kind(**more, **fields))


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        ("", "", errors.ShellWaits),
        ("1) shell  2) quit\nYour choice: ", "", errors.ShellWaits),
        ("", "python3: Permission denied", errors.ShellWaits),
        ("", "bash: no job control in this shell\n", errors.WantsTerminal),
        ("", "sh: 1: 9712: not found", errors.InputTaken),
    ],
)
def test_the_cause_of_a_wait(stdout: str, stderr: str, expected: type[errors.SshpykError]) -> None:
    assert explain_wait(Heard(None, stdout, stderr, PYTHON)) is expected


def test_much_noise_takes_no_time() -> None:
    lines = "x" * 70 + "\n"
    stderr = 'File "<string>", line 1, in <module>\n' * 100 + lines * 1000
    assert explain(Heard(1, lines * 1000, stderr, PYTHON))[0] is errors.StrangeAnswer
