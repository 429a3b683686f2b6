"""Completion: hosts of ssh's configuration, kernels, options; in the shells themselves."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sshpyk.cli import COMMANDS, make_parser
from sshpyk.cli.completion import NAMES, SHELLS, _actions
from sshpyk.ssh.aliases import hosts
from tests.cli.conftest import Call
from tests.lab.terminal import Terminal


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an ssh configuration of several files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    ssh = tmp_path / ".ssh"
    (ssh / "conf.d").mkdir(parents=True)
    (ssh / "config").write_text(
        "# Host commented\n"
        "Include conf.d/* conf.d/missing\n"
        'Host big "quoted" *.example.org !not web?\n'
        "  HostName elsewhere\n"
        "HOST=equals\n"
        "host $(touch_me) semi;colon\n"
        "Match host matched\n"
    )
    (ssh / "conf.d" / "one").write_text("Host included\nInclude ~/.ssh/config\nInclude conf.d/*\n")
    (ssh / "conf.d" / "two").write_text("Host bigger # with a comment\n")
    return ssh / "config"


def test_hosts_are_found_through_includes(config: Path) -> None:
    expected = {"included", "bigger", "big", "quoted", "equals", "$(touch_me)", "semi;colon"}
    found = set(hosts())
    assert expected <= found
    assert not {"commented", "not", "!not", "matched", "elsewhere"} & found
    assert set(hosts(str(config))) == expected
    assert hosts("/no/such/file") == []


CASES = [
    (("add", "b"), {"big", "bigger"}),
    (("connect", "incl"), {"included"}),
    (("doctor", "big"), {"big", "bigger"}),
    (("doctor", "mi"), {"mine"}),
    (("ps", "big", "equ"), {"equals"}),
    (("logs", "x", "--host", "equ"), {"equals"}),
    (("edit", ""), {"mine"}),
    (("delete", "mine", "m"), {"mine"}),
    (("run", "n.ipynb", "--on", "m"), {"mine"}),
    (("",), set(COMMANDS)),
    (("-v", "del"), {"delete"}),
    (("comp",), {"completion"}),
    (("completion", ""), {"bash", "fish", "zsh"}),
    (("edit", "mine", "--unset", "launch"), {"launch-timeout"}),
    (("edit", "--kernel-name", ""), {"mine"}),
    (("add", "--ssh-host-alias", "eq"), {"equals"}),
    (("add", "--ssh-config", "other", ""), {"elsewhere"}),
    (("add", "--ssh-config", "oth"), {"other"}),
    (("add", "--launch"), {"--launch-timeout"}),
    (("add", "--login"), {"--login-shell"}),
    (("add", "--ssh-verbose", ""), {"v", "vv", "vvv"}),
    (("add", "--launch-timeout", ""), set()),
    (("add", "$("), set()),
    (("unheard", "of", "x"), set()),
]


def candidates(*words: str, code: str = "from sshpyk.cli import main; main()") -> set[str]:
    """What is offered for the last of `words`, as the script of a shell asks for it."""
    line = shlex.join(["sshpyk", *words[:-1]]) + f" {words[-1]}"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "fish", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    with tempfile.NamedTemporaryFile("r") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": file.name},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return set(file.read().split())


@pytest.mark.parametrize(("words", "expected"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_candidates(
    config: Path,
    sshpyk: Call,
    words: tuple[str, ...],
    expected: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    add = ("add", "--no-check", "--ssh-host-alias", "h", "--remote-kernel-name", "k")
    assert sshpyk(*add, "--kernel-name", "mine").status == 0
    (tmp_path / "other").write_text("Host elsewhere\n")
    assert candidates(*words) == expected


def test_every_name_is_of_an_argument() -> None:
    """What is completed under a name that no command has would never be."""
    known = {
        name
        for command in COMMANDS
        for action in _actions(make_parser(command), command)
        for name in (action.dest, f"{command} {action.dest}")
    }
    assert set(NAMES) <= known


def test_answering_imports_nothing_that_takes_long(config: Path) -> None:
    code = (
        "import sys\nfrom sshpyk.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "slow = {'asyncio', 'rich', 'zmq', 'jupyter_client', 'paramiko', 'tornado'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    assert candidates("add", "incl", code=code) == {"included"}


@pytest.mark.parametrize("shell", SHELLS)
def test_in_the_shell_itself(config: Path, sshpyk: Call, tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        if os.environ.get("CI") == "true" and shell == "bash":
            pytest.fail("CI has bash")
        pytest.skip(f"there is no {shell} here")
    script = tmp_path / "script"
    script.write_text(sshpyk("completion", shell).out)
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    command = bin_directory / "sshpyk"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sshpyk.cli "$@"\n')
    command.chmod(0o755)
    path = f"{bin_directory}:{os.environ['PATH']}"
    if shell == "fish":
        done = subprocess.run(
            [program, "-N", "-c", f"source {script}; complete -C 'sshpyk add bi'"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PATH": path},
        )
        assert done.stdout.split() == ["big", "bigger"], done.stderr
        return
    quiet = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    # Not /dev/null: zsh moves new files to both places, which root may do even there.
    history, dump = bin_directory.parent / "history", bin_directory.parent / "dump"
    environment = {"PATH": path, "PS1": "> ", "HISTFILE": str(history)}
    with Terminal([program, *quiet], environment) as terminal:
        if shell == "zsh":
            terminal.type(f"autoload -U compinit; compinit -u -d {dump}")
        terminal.type(f"source {script}; echo rea''dy")
        terminal.expect("ready")
        terminal.press("sshpyk add inc\t")
        terminal.expect("included")
        terminal.press("\x15")
        terminal.type("exit 0")
        terminal.end()
