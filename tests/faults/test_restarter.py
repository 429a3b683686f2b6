"""Jupyter Server restarts kernels that died: never for an outage, once for a kill, and says why."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sshpyk.wire.liveness import PATIENCE as PATIENCE_FOR_PONG
from sshpyk.wire.liveness import PING_AFTER
from tests.faults.ways import FORWARDS, Way, params
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, left_behind

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


#: How it died, as far as the agent can know: what is not its child leaves it no status.
HOW = {
    FORWARDS: "killed (signal 9), nobody knows by whom",
    "carried": "nobody saw how: its server may have started it again",
}


@pytest.mark.parametrize("way", params(), indirect=True)
def test_no_outage_restarts_a_kernel_and_a_kill_restarts_it_once(way: Way, tmp_path: Path) -> None:
    link, chain = way.link, way.chain
    way.write_spec("far")
    (tmp_path / "near").mkdir()
    with Server(tmp_path / "near") as server:
        kernel = server.start_kernel("far")
        with server.connect(kernel) as notebook:
            notebook.run("kept = 42")
            [pid] = chain.pids("kernel")
            # Longer than the restarter's look (3 s) and than a loss takes to be noticed.
            link.hole()
            wait_for(lambda: "does not answer" in server.log.read_text())
            link.cut()
            time.sleep(PING_AFTER + PATIENCE_FOR_PONG)  # nothing is to happen in this time
            link.heal()
            assert notebook.run("print(kept)").text == "42\n"
            assert chain.pids("kernel") == [pid]
            assert "KernelRestarter" not in server.log.read_text()

            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: chain.pids("kernel") not in ([pid], []))
            assert notebook.run("print(2)").text == "2\n"
            assert len(chain.pids("agent")) == 1
            log = server.log.read_text()
            assert log.count("AsyncIOLoopKernelRestarter: restarting kernel") == 1
            assert f"the kernel died ({HOW.get(way.name, HOW[FORWARDS])}" in log
        server.shut_down(kernel)
    assert left_behind(tmp_path) == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
