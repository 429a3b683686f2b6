"""Kernels that die as they start, on a real server that starts each of them again only once."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.server import transport, trouble
from sshpyk.server.kernel import ServerKernel
from tests.jupyter.server import Server
from tests.lab.kernels import remote_kernel_of, run_code, started, until
from tests.server.servers import remote, running, write_card

#: Seconds until the server sees that one has died. It must not be while the server still starts it:
#: then jupyter_client can leave the request without an answer.
EVERY = 1.0

#: A kernel's program with the words for when it dies; `helper` says whether it is our helper.
PROGRAM = """
import os, sys, time
helper = os.environ["JPY_SESSION_NAME"].endswith({name!r})
{dies}
os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", "-f", sys.argv[1]])
"""

KERNEL_DIES = "if not helper: sys.exit('no')"
HELPER_DIES = "if helper: sys.exit('no')"

#: The ports of the first helper kernel are taken.
FIRST_HELPER_DIES = """
if helper:
    try:
        with open({marker!r}, "x") as file:
            file.write(sys.argv[1])
    except FileExistsError:
        pass
    with open({marker!r}) as file:
        if file.read() == sys.argv[1]:
            sys.exit("no")
"""

#: The kernel dies, and the helper comes only once it has been given up.
KERNEL_DIES_BEFORE = """
while helper and "restart failed" not in open({log!r}).read():
    time.sleep(0.01)
if not helper:
    sys.exit("no")
"""


@contextlib.contextmanager
def mortal(
    root: Path, monkeypatch: pytest.MonkeyPatch, dies: str, way: str | None
) -> Iterator[Server]:
    """A server with one kernelspec, whose kernels die as `dies` says, and a card for it."""
    spec = root / "data/kernels/mortal"
    spec.mkdir(parents=True)
    program = PROGRAM.format(name=transport.NAME, dies=dies)
    argv = [sys.executable, "-c", program, "{connection_file}"]
    content = {"argv": argv, "display_name": "Mortal", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content))
    options = (
        f"--KernelRestarter.time_to_dead={EVERY}",
        "--KernelRestarter.restart_limit=1",
        "--KernelSpecManager.allowed_kernelspecs=mortal",
    )
    monkeypatch.setattr(transport, "IDLE", 0.1)
    with remote(root, *options) as server:
        monkeypatch.setenv("SERVER_TOKEN", server.token)
        url = f"http://127.0.0.1:{server.port}/"
        write_card("mortal", url, remote_kernel_name="mortal", server_way=way)
        yield server
        until(lambda: running(server) == [])


@pytest.mark.parametrize("way", ["carried", "plain"])
def test_the_kernel_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Its server starts it again, and gives up: so does the start, and says why."""
    with mortal(tmp_path, monkeypatch, KERNEL_DIES, way) as there:
        check_it_is_told(there)


def test_the_kernel_dies_before_the_helper_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = KERNEL_DIES_BEFORE.format(log=str(tmp_path / "server.log"))
    with mortal(tmp_path, monkeypatch, dies, "carried") as there:
        check_it_is_told(there)


def check_it_is_told(there: Server) -> None:
    with pytest.raises(trouble.ServerKernelDied) as raised, started("mortal"):
        pass
    said = " ".join(str(raised.value).split())
    assert "mortal on 127.0.0.1" in said
    assert "ended while it started (its server gave it up)" in said
    assert f"sshpyk browse http://127.0.0.1:{there.port}/" in said


def test_a_helper_that_dies_has_a_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where somebody has taken the ports that its server chose for it."""
    marker = tmp_path / "marker"
    dies = FIRST_HELPER_DIES.format(marker=str(marker))
    with mortal(tmp_path, monkeypatch, dies, "carried"), started("mortal") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert marker.exists()


def test_no_helper_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with mortal(tmp_path, monkeypatch, HELPER_DIES, None), started("mortal") as (manager, client):
        assert isinstance(remote_kernel_of(manager), ServerKernel)
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert "can't be carried: its helper kernels die as they start" in caplog.text
