"""Login shells of every kind, with what their start-up files may print and do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sshpyk import errors
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import NewServer
from tests.starts.shells import SHELLS, needed

pytestmark = pytest.mark.sshd

#: The start-up file that each shell reads for a command; dash reads none.
RC = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "csh": ".cshrc",
    "tcsh": ".tcshrc",
}

#: A name that no shell leaves alone unless it is quoted.
ODD = 'it\'s "ünï" $HOME *? `a` & (b)'

#: One that no shell stumbles over by itself.
HOME = 'it\'s "ünï" (b)'

WHERE = "import os, sys; print(os.getcwd(), os.environ.get('PYTHONHOME'), sys.version_info[0])"


def write_rc(home: Path, shell: str, text: str) -> None:
    """Write the shell's start-up file."""
    path = home / RC[shell]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("lent", [False, True], ids=["", "pythonhome"])
def test_a_kernel_runs(new_server: NewServer, tmp_path: Path, shell: str, lent: bool) -> None:
    home = tmp_path / HOME
    # Without a locale fish takes the name of its own home for another one.
    environment = {"LANG": "C.UTF-8"}
    own = None  # the kernel's PYTHONHOME; one that is lent to the agent is put back for it
    if lent and shell != "bash":
        own = environment["PYTHONHOME"] = sys.base_prefix
    server = new_server(home, shell=needed(shell), environment=environment)
    (home / ODD).mkdir()
    directory = ODD.replace("$", "")  # variables are meant there
    (home / directory).mkdir()
    # As in an environment, where bin/python is a link: a file that starts ours.
    python = home / ODD / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    lending = {"remote_pythonhome": f"{sys.base_prefix}/."} if lent else {}
    config = {"remote_python": f"~/{ODD}/python", "remote_cwd": f"~/{directory}", **lending}
    write_spec("odd", server, **config)
    with started("odd") as (_, client):
        assert run_code(client, WHERE) == f"{home}/{directory} {own} 3\n"


#: What start-up files print, the worst at last: a line that has no end.
NOISE = """#!/bin/sh
echo welcome; echo trouble >&2
head -c 100000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero | tr '\\0' y >&2; echo
printf '\\033[1;31mwelcome\\033[0m\\007\\r\\n'
echo 'SSHPYK2 is what ours begin with'
printf welcome; printf trouble >&2
"""


@pytest.mark.parametrize("shell", RC)
def test_noise_before(new_server: NewServer, shell: str) -> None:
    server = new_server(shell=needed(shell))
    script = server.home / "noise"
    script.write_text(NOISE)
    script.chmod(0o700)
    write_rc(server.home, shell, "~/noise\n")
    write_spec("noisy", server)
    with started("noisy") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"


def test_noise_after_and_beside(new_server: NewServer) -> None:
    server = new_server(shell=needed("bash"))
    # Something in the background that talks on, and keeps the session's pipes open.
    loop = "(for n in 1 2 3 4 5 6 7 8 9; do echo $n; echo $n >&2; sleep 0.3; done) &\n"
    loop += "(for n in 1 2 3 4 5 6 7 8 9; do echo -n noise; sleep 0.01; done) &\n"
    write_rc(server.home, "bash", f"echo begun\ntrap 'echo ended; echo ended >&2' EXIT\n{loop}")
    write_spec("noisy", server)
    for _ in range(2):  # the second time the session carries what comes first
        with started("noisy") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"


def test_noise_is_shown_where_nothing_else_comes(new_server: NewServer) -> None:
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", "echo 'This account has expired.'; exit 1\n")
    said = server.starting_fails(errors.StrangeAnswer)
    assert said.startswith(f"{sys.executable} did not start on sshd as expected.")
    assert said.endswith("This account has expired.")


@pytest.mark.parametrize(
    ("noise", "expected", "launch_timeout"),
    [
        ("timeout 30 yes", errors.EndlessNoise, 30),  # until there is too much of it
        ("timeout 30 yes | tr -d '\\n'", errors.EndlessNoise, 30),
        # Not endless after all: nobody tells it that nobody listens to its stderr any more.
        ("timeout 5 yes >&2; exit", errors.LaunchTimeout, 4),
    ],
)
def test_endless_noise(
    new_server: NewServer, noise: str, expected: type[errors.SshpykError], launch_timeout: int
) -> None:
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", f"{noise}\n")
    said = server.starting_fails(expected, launch_timeout=launch_timeout)
    assert len(said) < 5000


def test_a_start_up_file_that_reads_stdin(new_server: NewServer) -> None:
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", "read answer\n")
    said = server.starting_fails(errors.InputTaken, launch_timeout=5)
    assert "a start-up file of the shell there may be in the way" in said
    assert len(said) < 2000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exec tmux attach", errors.WantsTerminal),
        ("exec tmux new-session -A -s main", errors.WantsTerminal),
        ("exec sh", errors.InputTaken),
        ("exit 3", errors.EndedSilently),
    ],
)
def test_a_start_up_file_that_takes_over(
    new_server: NewServer, text: str, expected: type[errors.SshpykError]
) -> None:
    needed("tmux")
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", f"{text}\n")
    server.starting_fails(expected, launch_timeout=5)


def test_a_start_up_file_that_starts_tmux_in_vain(new_server: NewServer) -> None:
    needed("tmux")
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", "tmux new-session -A -s main\n")
    write_spec("beside", server)
    with started("beside") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"


MENU = """#!/bin/sh
while printf '1) shell  2) quit\\nYour choice: '; read choice; do
    case "$choice" in 2) exit ;; esac
done
"""


def test_a_menu_as_login_shell(new_server: NewServer, tmp_path: Path) -> None:
    menu = tmp_path / "menu"
    menu.write_text(MENU)
    menu.chmod(0o700)
    server = new_server(shell=str(menu))
    said = server.starting_fails(errors.ShellWaits, launch_timeout=3)
    assert "said nothing there within 3 s" in said
    assert said.endswith("Your choice:"), "a prompt has no end of line"


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ("/usr/sbin/nologin", errors.NoCommands),
        ("/bin/false", errors.EndedSilently),
    ],
)
def test_an_account_without_a_shell(
    new_server: NewServer, shell: str, expected: type[errors.SshpykError]
) -> None:
    server = new_server(shell=shell)
    server.starting_fails(expected)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("internal-sftp", errors.NoCommands),
        ("nice -n 5 $SSH_ORIGINAL_COMMAND", errors.CommandSplit),
        ("exec $SSH_ORIGINAL_COMMAND", errors.CommandSplit),
        ('bash -c "eval $SSH_ORIGINAL_COMMAND"', errors.CommandSplit),
        ("nice -n 5 sh", errors.InputTaken),
        ("nice -n 5 sh -c $SSH_ORIGINAL_COMMAND", errors.EndedSilently),
    ],
)
def test_a_forced_command_that_does_something_else(
    new_server: NewServer, command: str, expected: type[errors.SshpykError]
) -> None:
    server = new_server(options=[f"ForceCommand {command}"])
    server.starting_fails(expected)


def test_a_forced_command_that_is_nice(new_server: NewServer) -> None:
    """As the advice for those that are not good enough has it."""
    server = new_server(options=['ForceCommand nice -n 5 sh -c "$SSH_ORIGINAL_COMMAND"'])
    write_spec("nice", server)
    with started("nice") as (_, client):
        assert run_code(client, "import os; print(os.nice(0))") == f"{os.nice(0) + 5}\n"
