"""The command as a whole: help, version, exit statuses, how soon it answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sshpyk as package
from sshpyk.cli import COMMANDS
from tests.cli.conftest import Call


def test_help_and_version(sshpyk: Call) -> None:
    result = sshpyk("--help")
    assert result.status == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in result.out
        assert summary.split(",")[0] in result.out
    assert sshpyk("--version") == (0, f"sshpyk {package.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(sshpyk: Call, command: str) -> None:
    result = sshpyk(command, "--help")
    assert result.status == 0
    assert f"sshpyk {command}" in result.out


def test_help_imports_nothing_that_takes_long() -> None:
    # A limit of seconds would measure how busy the machine is.
    code = (
        "import sys\nfrom sshpyk.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "slow = {'argcomplete', 'asyncio', 'rich', 'zmq', 'jupyter_client', 'paramiko'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_verbose_before_and_behind(sshpyk: Call) -> None:
    for words in (("-v", "list", "-n"), ("list", "-vvv", "-n"), ("-v", "list", "-n", "-v")):
        assert sshpyk(*words).status == 0


def test_abbreviations_are_refused(sshpyk: Call) -> None:
    assert sshpyk("list", "--no").status == 2
