"""README.rst is true: every command in it is run here, in its order, by a newcomer.

The newcomer has a home directory of their own, a copy of the project, and an `ssh` that gets into
HOST; what the README says to type is typed word for word.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text("utf-8")

#: Commands that other tests or CI run, and where.
ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && "
    ".venv/bin/python -m pytest -n 3": ".ci/run runs this very line",
}


def commands() -> list[str]:
    """The commands of the README: the literal blocks behind `::` that are no picture."""
    found = []
    for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", README):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if not any("──" in line for line in lines):
            found += lines
    return found


class Newcomer:
    """A person with a terminal, in a copy of the project."""

    def __init__(self, directory: Path, server: Sshd) -> None:
        self.project = directory / "project"
        self.home = directory / "home"
        self.home.mkdir()
        ignored = shutil.ignore_patterns(".git", ".venv", "*cache*", "__pycache__")
        shutil.copytree(ROOT, self.project, ignore=ignored)
        ssh = directory / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {server.ssh_config} "$@"\n')
        ssh.chmod(0o755)
        own = {"HOME": str(self.home), "JUPYTER_DATA_DIR": str(self.home / "jupyter")}
        path = f"{ssh.parent}:{self.project}/.venv/bin:{os.environ['PATH']}"
        own["JUPYTER_RUNTIME_DIR"] = str(self.home / "runtime")
        self.environment = {**os.environ, **own, "PATH": path}

    def run(self, command: str, seconds: float = 300) -> str:
        """Type a command; what it said."""
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert result.returncode == 0, f"$ {command}\n{result.stdout}{result.stderr}"
        return result.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    remote = tmp_path_factory.mktemp("host")
    spec = remote / ".local/share/jupyter/kernels/python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content))
    with Sshd(home=remote, host="HOST") as server:
        yield Newcomer(tmp_path_factory.mktemp("newcomer"), server)


@pytest.mark.sshd
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_does_what_it_says(newcomer: Newcomer) -> None:
    todo = [command for command in commands() if command not in ELSEWHERE]

    packaged, cloned = todo.pop(0), todo.pop(0)
    assert "demo.py" in cloned
    assert newcomer.run(cloned).rstrip().endswith("Everything held.")

    # The package that this is, not the one of the index; and not in the clone.
    assert packaged == "pip install 'sshpyk[demo]' && sshpyk demo"
    demo = packaged.replace("'sshpyk[demo]'", f"-q '{newcomer.project}[demo]'")
    told = newcomer.run(f"cd {newcomer.home} && {demo}")
    assert told.rstrip().endswith("Everything held.")

    install = todo.pop(0)
    assert install == "pip install sshpyk"
    newcomer.run(install.replace("sshpyk", "-q ."))

    assert todo.pop(0) == "sshpyk add HOST"
    with Terminal(["sshpyk", "add", "HOST"], newcomer.environment) as terminal:
        terminal.expect("Which")
        terminal.type("1")
        terminal.type("")  # the name that it proposes
        assert terminal.end() == 0, terminal.text
    assert "ssh_host_python3" in newcomer.run("jupyter kernelspec list")

    assert todo.pop(0) == "sshpyk connect HOST"
    newcomer.run("sshpyk connect HOST")
    add = todo.pop(0)
    assert add == "sshpyk add HOST --setup 'module load python'"
    # There are no modules here, so the line is one that any shell knows.
    newcomer.run(add.replace("module load python", "export LOADED=yes") + " --dry-run --all")
    newcomer.run("sshpyk disconnect HOST")
    assert todo == []


def test_ci_runs_the_line_for_the_tests() -> None:
    (line,) = ELSEWHERE
    assert line in commands()
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r"grep -E '([^']+)' README.rst", script)
    assert pattern is not None
    matching = [text for text in README.splitlines() if re.search(pattern.group(1), text)]
    assert [text.strip() for text in matching] == [line]


def test_every_page_it_names_is_there() -> None:
    pages = re.findall(r"<((?:docs/)?[\w.-]+\.(?:rst|md))>`_", README)
    assert {"docs/architecture.rst", "CHANGELOG.md"} <= set(pages)
    assert [page for page in pages if not (ROOT / page).is_file()] == []
