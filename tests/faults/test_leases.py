"""Clients that vanish: what the lease keeps, and what its end sets free. On a clock of our own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chain import Chain
from tests.faults.ways import NO_LEASE, Way, params
from tests.lab.kernels import PATIENCE, link_of, run_code, started
from tests.lab.link import Link
from tests.lab.peers import alive

pytestmark = [
    pytest.mark.sshd,
    pytest.mark.parametrize("way", params(without=NO_LEASE), indirect=True),
]

HOUR = 3600.0

POUR = """
import os
from IPython.display import display
for _ in range(40):
    display({"application/octet-stream": os.urandom(1 << 19).hex()}, raw=True)
"""


class Clock:
    """The time on the host, as agents see it; `python` is what starts them."""

    def __init__(self, directory: Path, chain: Chain) -> None:
        self._offset = directory / "offset"
        self._offset.write_text("0")
        self._chain = chain
        self.python = directory / "python"
        clocked = Path(__file__).with_name("clocked.py")
        command = f"exec {sys.executable} -I -S {clocked} {self._offset}"
        self.python.write_text(f'#!/bin/sh\n{command} "$@"\n')
        self.python.chmod(0o755)

    def put_forward(self, seconds: float) -> None:
        """It is that much later, and every agent looks at the clock."""
        whole = self._offset.with_suffix(".new")
        whole.write_text(str(float(self._offset.read_text()) + seconds))
        os.replace(whole, self._offset)
        for pid in self._chain.pids("agent"):
            os.kill(pid, signal.SIGCHLD)


@pytest.fixture
def chain(way: Way) -> Chain:
    return way.chain


@pytest.fixture
def clock(chain: Chain, tmp_path: Path) -> Clock:
    return Clock(tmp_path, chain)


@pytest.fixture
def link(way: Way) -> Link:
    return way.link


def lose(link: Link) -> None:
    link.refuse()
    link.cut()


def test_a_lease_that_runs_out_ends_the_kernel(
    way: Way, link: Link, chain: Chain, clock: Clock
) -> None:
    way.write_spec("far", remote_python=str(clock.python), lease=HOUR)
    with started("far") as (manager, _):
        [agent], [kernel] = chain.pids("agent"), chain.pids("kernel")
        lose(link)
        wait_for(lambda: says(chain, "lost its last carrier"))
        clock.put_forward(HOUR - 60)
        assert manager.is_alive()
        link.accept()
        wait_for(lambda: says(chain, "connected, generation", 2))
        lose(link)
        wait_for(lambda: says(chain, "lost its last carrier", 2))
        clock.put_forward(HOUR - 60)  # it begins anew with each loss
        assert alive(kernel)
        clock.put_forward(120)
        wait_for(lambda: not alive(agent))
        assert not alive(kernel)
        assert manager.is_alive(), "out of sight is not dead"
        link.accept()
        wait_for(lambda: not manager.is_alive())
        exited = link_of(manager).exited
        assert exited is not None
        assert "its lease ran out" in exited["note"]


def test_a_client_that_is_given_up_frees_what_was_kept_for_it(
    way: Way, link: Link, chain: Chain, clock: Clock, tmp_path: Path
) -> None:
    way.write_spec(
        "far",
        remote_python=str(clock.python),
        lease=HOUR,
        persistent=True,
        persistent_file=str(tmp_path / "persistence.json"),
        memory_limit=1 << 20,
    )
    with started("far") as (manager, client):
        [agent], [kernel] = chain.pids("agent"), chain.pids("kernel")
        run_code(client, "kept = 42")
        client.execute("import time; time.sleep(1)\n" + POUR)
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "execute_input":
            pass  # until it has arrived there
        lose(link)
        wait_for(lambda: len(spool_files(agent)) >= 2)
        clock.put_forward(HOUR + 60)
        wait_for(lambda: not spool_files(agent))
        assert alive(kernel), "persistent: it goes on without anybody"
        link.accept()
        # What it asked for in between went with what was kept for it.
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print(kept)") == "42\n"
        manager.provisioner.persistent = False  # type: ignore[union-attr]


def spool_files(pid: int) -> list[str]:
    """The files without a name that an agent has open for its spool."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(file)
        except FileNotFoundError:
            continue
        if "/spool-" in target:
            found.append(target)
    return found


def says(chain: Chain, text: str, times: int = 1) -> bool:
    """Whether the agent's log has `text` so many times."""
    [log] = chain.home.glob(".local/state/sshpyk/kernels/*/agent.log")
    return log.read_text().count(text) >= times


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells us of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
