"""What a user sees of an outage: a pause. Not one line, reply or request is lost."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.faults.ways import Way, params
from tests.lab.kernels import PATIENCE, left_behind, run_code, started
from tests.lab.link import Link

PRINT = """
import time
for number in range(200):
    print(number, flush=True)
    time.sleep(0.05)
"""


def cut(link: Link, wait: Callable[[float], None]) -> None:
    """The connection breaks, and the host can be reached at once."""
    link.cut()


def refused(link: Link, wait: Callable[[float], None]) -> None:
    """It breaks, and the host takes no connection for five seconds."""
    link.refuse()
    link.cut()
    wait(5)
    link.accept()


def silent(link: Link, wait: Callable[[float], None]) -> None:
    """Nothing gets through for thirty seconds, and nobody is told."""
    link.hole()
    wait(30)
    link.heal()


@pytest.mark.sshd
@pytest.mark.slow
@pytest.mark.parametrize("fault", [cut, refused, silent])
@pytest.mark.parametrize("way", params(), indirect=True)
def test_every_line_arrives_once_and_in_order(
    fault: Callable[[Link, Callable[[float], None]], None], way: Way, tmp_path: Path
) -> None:
    link = way.link
    way.write_spec("far")
    with started("far") as (manager, client):
        pid = run_code(client, "import os; print(os.getpid())")
        first = client.execute(PRINT)
        lines = Lines(client)
        lines.read_until(lambda: len(lines.lines) == 40)
        over = threading.Event()
        outage = threading.Thread(target=fault, args=(link, lambda s: over.wait(s) and None))
        outage.start()
        second = client.execute("print('asked during the outage')")
        lines.read_until(lambda: {first, second} <= lines.idle)
        outage.join(PATIENCE)
        assert lines.lines == [*map(str, range(200)), "asked during the outage"]
        replies = [client.get_shell_msg(timeout=PATIENCE) for _ in range(2)]
        assert [reply["parent_header"]["msg_id"] for reply in replies] == [first, second]
        assert [reply["content"]["status"] for reply in replies] == ["ok", "ok"]
        assert manager.is_alive()
        assert run_code(client, "print(os.getpid())") == pid, "the kernel was restarted"
    assert left_behind(tmp_path) == []


@pytest.mark.sshd
@pytest.mark.parametrize("way", params(), indirect=True)
def test_a_dead_link_is_neither_alive_nor_dead(way: Way) -> None:
    """Whatever Jupyter asks during an outage is answered at once, and no answer says "dead"."""
    link = way.link
    way.write_spec("far")
    with started("far") as (manager, client):
        link.refuse()
        link.cut()
        begun = time.monotonic()
        for _ in range(50):
            assert manager.is_alive()
        manager.interrupt_kernel()
        assert time.monotonic() - begun < 30, "a question waited for the network"
        link.accept()
        assert run_code(client, "print('back')") == "back\n"


class Lines:
    """Reads a client's iopub: the lines printed, and whose requests are done."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.lines: list[str] = []
        self.idle: set[str] = set()
        self._rest = ""

    def read_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"after {self.lines[-3:]} nothing came"
            try:
                message: dict[str, Any] = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                # ipykernel may flush between a line and its end.
                *lines, self._rest = (self._rest + content["text"]).split("\n")
                self.lines += lines
            elif content.get("execution_state") == "idle":
                self.idle.add(message["parent_header"]["msg_id"])
