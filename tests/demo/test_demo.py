"""The demo, as a newcomer runs it: on the sandbox, and on a host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.sshd import Sshd

DEMO = Path(__file__).parents[2] / "demo.py"


def run_demo(*words: str) -> str:
    result = subprocess.run(
        [sys.executable, str(DEMO), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_demo_holds_on_the_sandbox() -> None:
    said = run_demo()
    assert "all 60 lines arrived, once and in order" in said
    assert said.rstrip().endswith("Everything held.")


@pytest.mark.sshd
def test_the_demo_holds_on_a_host(sshd: Sshd) -> None:
    said = run_demo(sshd.host, "--ssh-config", str(sshd.ssh_config), "--python", sys.executable)
    assert said.rstrip().endswith("Everything held.")


@pytest.mark.sshd
def test_the_demo_fails_where_a_step_does_not_hold(sshd: Sshd) -> None:
    with pytest.raises(AssertionError, match="There is no kernelspec nosuch") as failure:
        run_demo(
            *(sshd.host, "--ssh-config", str(sshd.ssh_config)),
            *("--python", sys.executable, "--kernel", "nosuch"),
        )
    assert "Traceback" not in str(failure.value)
