"""The demo, as a newcomer runs it: the command, and the file in a clone; here, and on a host."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from sshpyk.cli.terminal import Terminal
from sshpyk.demo.narrator import Broken, Narrator
from tests.lab.sshd import Sshd

#: Both ways to start it. The command is what an installation puts on PATH.
COMMAND = [os.path.join(sysconfig.get_path("scripts"), "sshpyk"), "demo"]
FILE = [sys.executable, str(Path(__file__).parents[2] / "demo.py")]


def processes_of(directory: Path) -> list[str]:
    """The commands of those whose environment names a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(f"HOME={directory}/") in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ")[:100])
    return found


def run_demo(command: list[str], directory: Path, *words: str, status: int = 0) -> str:
    result = subprocess.run(
        [*command, *words],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_it_holds_on_the_sandbox(
    tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the file in a clone; tests/test_readme.py runs the command so."""
    monkeypatch.setenv("TMPDIR", str(short_tmp))
    monkeypatch.setenv("SSHPYK_FORK_SERVER", "1")  # as people have it, who set nothing
    told = run_demo(FILE, tmp_path)
    assert processes_of(short_tmp) == [], "it leaves none on the host"
    assert "all 60 lines arrived, once and in order" in told
    assert told.rstrip().endswith("Everything held.")
    assert os.listdir(tmp_path) == [], "it leaves nothing where it is run"


@pytest.mark.sshd
def test_it_holds_on_a_host(sshd: Sshd, tmp_path: Path) -> None:
    config = ["--ssh-config", str(sshd.ssh_config)]
    told = run_demo(COMMAND, tmp_path, sshd.host, *config, "--python", sys.executable)
    assert told.rstrip().endswith("Everything held.")


@pytest.mark.sshd
def test_it_fails_where_a_step_does_not_hold(sshd: Sshd, tmp_path: Path) -> None:
    config = ["--ssh-config", str(sshd.ssh_config), "--python", sys.executable]
    told = run_demo(COMMAND, tmp_path, sshd.host, *config, "--kernel", "nosuch", status=1)
    assert "There is no kernelspec nosuch" in told
    assert "Everything held" not in told
    assert "Traceback" not in told


def test_what_does_not_hold_ends_it(capfd: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(Terminal())
    narrator.held("[red]the \x1b[31mfirst", True)
    with pytest.raises(Broken, match="the second"):
        narrator.held("the second", False)
    assert capfd.readouterr().out == "  ✓ [red]the \ufffd[31mfirst\n"


def test_without_ipykernel_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'ipykernel' else find(name, *more)\n"
        "from sshpyk.cli import main; sys.exit(main(['demo']))"
    )
    told = run_demo([sys.executable, "-c", code], tmp_path, status=2)
    assert "    pip install 'sshpyk[demo]'\n" in told
