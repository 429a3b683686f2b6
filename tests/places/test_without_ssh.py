"""Kernels on machines without an ssh program: paramiko makes the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.link.thread import io_thread
from sshpyk.transport.paramiko_client import Paramiko
from tests.faults.test_outages import Lines
from tests.lab.kernels import PATIENCE, left_behind, link_of, run_code, started, write_spec
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd

PRINT = """
import time
for number in range(200):
    print(number, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def no_ssh(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PATH without any program; afterwards no thread of a connection's is left."""
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(short_tmp))
        yield
    for thread in threading.enumerate():
        if thread.name in ("sshpyk-read", "sshpyk-write", "sshpyk-stderr", "sshpyk-login"):
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread.name


def test_no_line_is_lost_when_the_connection_is_cut(
    linked_sshd: Sshd, tmp_path: Path, no_ssh: None
) -> None:
    link = linked_sshd.link
    assert link is not None
    write_spec("far", linked_sshd)
    with started("far") as (manager, client), started("far") as (other_manager, other):
        place = link_of(manager).transport
        assert isinstance(place, Paramiko)
        assert place is link_of(other_manager).transport
        assert link.live == 1, "one connection a host and process"
        pid = run_code(client, "import os; print(os.getpid())")
        first = client.execute(PRINT)
        lines = Lines(client)
        lines.read_until(lambda: len(lines.lines) >= 40)
        link.cut()
        lines.read_until(lambda: first in lines.idle)
        assert lines.lines == [*map(str, range(200))]
        assert link.connections == 2
        assert run_code(client, "print(os.getpid())") == pid
        size = 10_000_000
        assert len(run_code(other, f"print('x' * {size})")) == size + 1
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
    assert left_behind(tmp_path) == []
    io_thread().submit(place.close()).result(PATIENCE)
    assert place.identity() is None
