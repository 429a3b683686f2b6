"""The main job end to end, at its simplest: if this fails, look here first."""

from __future__ import annotations

from pathlib import Path

import pytest

from sshpyk.demo.sandbox import Sandbox
from tests.lab.kernels import left_behind, run_code, started, write_spec
from tests.lab.sshd import Sshd


@pytest.mark.sshd
def test_a_cell_runs_on_the_host(sshd: Sshd, remote_home: Path) -> None:
    write_spec("remote", sshd)
    with started("remote") as (manager, client):
        code = "import os; print(os.path.expanduser('~'), 'SSH_CONNECTION' in os.environ)"
        assert run_code(client, code) == f"{remote_home} True\n"
        manager.restart_kernel()
        client.wait_for_ready(timeout=30)
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert left_behind(remote_home) == []


def test_a_cell_runs_in_the_sandbox(sandbox: Sandbox, remote_home: Path) -> None:
    # The sandbox forwards no unix sockets, so this is the way over loopback TCP.
    write_spec("sandboxed", sandbox)
    with started("sandboxed") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert left_behind(remote_home) == []
