"""The Python on the host that is to run the agent: missing, none, too old, just old enough."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sshpyk import errors
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import NewServer, Server
from tests.starts.shells import SHELLS, needed

pytestmark = pytest.mark.sshd

#: Where some keep Pythons of every age; what needs one of these is tried with a fake as well.
VERSIONS = Path("~/.pyenv/versions").expanduser()

PYTHON_2 = """#!/bin/sh
echo 'Unknown option: -I' >&2
echo 'usage: python [option] ... [-c cmd | -m mod | file | -] [arg] ...' >&2
exit 2
"""

# The real one, with another idea of its version.
PYTHON_3_6 = """#!/bin/sh
for word; do last=$word; done
exec {python} -I -S -c "import sys; sys.version_info = (3, 6, 15, 'final', 0); $last"
"""


def program(path: Path, text: str) -> str:
    """Write an executable; its path."""
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("what", ["missing", "not executable", "a directory", "nowhere on PATH"])
def test_no_python(new_server: NewServer, shell: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "python"
    if what == "not executable":
        path.write_text("")
    elif what == "a directory":
        path.mkdir()
    python = "python3.99" if what == "nowhere on PATH" else str(path)
    server = new_server(shell=needed(shell))
    said = server.starting_fails(errors.PythonMissing, remote_python=python)
    assert said.startswith(f"sshd has no {python} that can be run.")
    assert "import" not in said  # nothing of the command line, which some shells show
    # The advice works, in each of these shells.
    advice = said.partition("(the second). ")[2].partition("; sshpyk edit")[0]
    found = subprocess.run(shlex.split(advice), check=True, capture_output=True, text=True).stdout
    assert found.endswith("python3\n")


@pytest.mark.parametrize(
    ("version", "text"), [("2", PYTHON_2), ("3.6", PYTHON_3_6.format(python=sys.executable))]
)
@pytest.mark.parametrize("pythonhome", ["", "/usr"])
def test_a_python_too_old(
    server: Server, tmp_path: Path, version: str, text: str, pythonhome: str
) -> None:
    python = program(tmp_path / "python", text)
    said = server.starting_fails(
        errors.PythonTooOld, remote_python=python, remote_pythonhome=pythonhome
    )
    assert said.startswith(f"{python} on sshd is Python {version}; sshpyk needs 3.8 or later")


@pytest.mark.parametrize(
    ("version", "named"), [("2.7.18", "2"), ("3.6.15", "3.6"), ("3.7.16", "3.7")]
)
@pytest.mark.parametrize("pythonhome", [False, True])
def test_a_real_python_too_old(server: Server, version: str, named: str, pythonhome: bool) -> None:
    python = VERSIONS / version / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python} here; fakes of such Pythons are tried always")
    lent = str(python.parent.parent) if pythonhome else ""
    said = server.starting_fails(
        errors.PythonTooOld, remote_python=str(python), remote_pythonhome=lent
    )
    assert said.startswith(f"{python} on sshd is Python {named}; sshpyk needs 3.8 or later")


def test_a_program_that_is_no_python(server: Server) -> None:
    said = server.starting_fails(errors.StrangeAnswer, remote_python="/bin/ls")
    assert said.startswith("/bin/ls did not start on sshd as expected.")
    assert "ls: " in said


def test_a_python_that_never_answers(server: Server, tmp_path: Path) -> None:
    text = "#!/bin/sh\necho 'Choose a project:' >&2\nexec cat >/dev/null\n"
    python = program(tmp_path / "python", text)
    said = server.starting_fails(errors.ShellWaits, remote_python=python, launch_timeout=3)
    assert f"{python} has said nothing there within 3 s" in said
    assert said.endswith("\nChoose a project:")


def test_an_echo_shows_no_secrets(server: Server, tmp_path: Path) -> None:
    python = program(
        tmp_path / "python", "#!/bin/sh\nexec grep --line-buffered -ao '{\"do\".*' >&2\n"
    )
    said = server.starting_fails(errors.LaunchTimeout, remote_python=python, launch_timeout=3)
    assert '"token": "…"' in said
    assert '"key": "…"' in said


def test_the_oldest_python_runs_the_agent(new_server: NewServer, tmp_path: Path) -> None:
    python = VERSIONS / "3.8.18" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python} here; tests of wire and agent hold its code to 3.8")
    # The kernel is of another Python; its kernelspec is found by the host's own variable.
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    directory = tmp_path / "elsewhere" / "kernels" / "new"
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps({"argv": argv}))
    server = new_server(environment={"JUPYTER_PATH": str(tmp_path / "elsewhere")})
    write_spec("old", server, remote_python=str(python), remote_kernel_name="new")
    with started("old") as (manager, client):
        version = run_code(client, "import sys; print(sys.version_info[:2])")
        assert version == f"{sys.version_info[:2]}\n"
        manager.restart_kernel()
        client.wait_for_ready(timeout=30)
        assert run_code(client, "print(6 * 7)") == "42\n"
