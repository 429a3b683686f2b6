"""One fault of each kind, at every process and on the way between: nothing is lost by any."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sshpyk.wire.liveness import PATIENCE as PATIENCE_FOR_PONG
from sshpyk.wire.liveness import PING_AFTER
from tests.faults.record import Watched
from tests.faults.ways import Way, params
from tests.lab.kernels import PATIENCE, left_behind, started

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

#: About three seconds of output, in pieces from 4 B to 1 MB.
WORK = """
import time
from IPython.display import display
for number in range(100):
    print(number, flush=True)
    time.sleep(0.03)
    if number % 10 == 0:
        display({"application/octet-stream": "x" * 4 ** (1 + number // 10)}, raw=True)
"""


class Lab:
    """What a fault may break: a way's `link` and `chain`; `pause(seconds)` ends early with the
    test."""

    def __init__(self, way: Way) -> None:
        self.link = way.link
        self.chain = way.chain
        self.over = threading.Event()

    def pause(self, seconds: float) -> None:
        """Let the fault last."""
        self.over.wait(seconds)

    def kill(self, part: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """Kill a part of the chain, or send it another signal."""
        assert self.chain.send(part, signum) > 0

    def stop(self, part: str, seconds: float) -> None:
        """Stop a part of the chain for a while."""
        assert self.chain.send(part, signal.SIGSTOP) > 0
        self.pause(seconds)
        self.chain.send(part, signal.SIGCONT)


@pytest.fixture
def lab(way: Way, tmp_path: Path) -> Iterator[Lab]:
    way.write_spec("far")
    lab = Lab(way)
    yield lab
    lab.over.set()
    for part in way.parts[:-2]:
        lab.chain.send(part, signal.SIGCONT)
    assert left_behind(tmp_path) == []


def cut_often(lab: Lab) -> None:
    for _ in range(10):
        lab.link.cut()
        lab.pause(0.3)


def refused(lab: Lab) -> None:
    lab.link.refuse()
    lab.link.cut()
    lab.pause(4)
    lab.link.accept()


def short_hole(lab: Lab) -> None:
    lab.link.hole()
    lab.pause(3)
    lab.link.heal()


def long_hole(lab: Lab) -> None:
    lab.link.hole()
    lab.pause(14)
    lab.link.heal()


def hole_in_which_it_breaks(lab: Lab) -> None:
    lab.link.hole()
    lab.pause(2)
    lab.link.cut()
    lab.pause(6)
    lab.link.heal()


def slow(lab: Lab) -> None:
    lab.link.set_delay(0.3)
    lab.link.set_rate(300_000)
    lab.pause(6)
    lab.link.set_delay(0)
    lab.link.set_rate(0)


def master_killed(lab: Lab) -> None:
    lab.kill("master")


def master_terminated(lab: Lab) -> None:
    lab.kill("master", signal.SIGTERM)


def master_stopped(lab: Lab) -> None:
    lab.stop("master", 14)


def session_killed(lab: Lab) -> None:
    lab.kill("session")


def session_stopped(lab: Lab) -> None:
    lab.stop("session", 14)


def program_killed(lab: Lab) -> None:
    lab.kill("program")


def program_stopped(lab: Lab) -> None:
    lab.stop("program", 14)


def relay_killed(lab: Lab) -> None:
    lab.kill("relay")


def relay_stopped(lab: Lab) -> None:
    """For good: another takes its place."""
    lab.kill("relay", signal.SIGSTOP)


def helper_killed(lab: Lab) -> None:
    """Its server starts another in its place."""
    lab.kill("helper")


def helper_stopped(lab: Lab) -> None:
    """Its server answers, and it does not."""
    lab.stop("helper", 14)


def agent_stopped_briefly(lab: Lab) -> None:
    lab.stop("agent", 3)


def agent_stopped(lab: Lab) -> None:
    lab.stop("agent", 16)


def kernel_stopped(lab: Lab) -> None:
    lab.stop("kernel", 3)


def laptop_asleep(lab: Lab) -> None:
    """This process stops for a while, and when it goes on its connection is long gone."""
    lab.link.hole()
    lab.link.cut()
    me = os.getpid()
    script = f"kill -STOP {me}; sleep 6; kill -CONT {me}"
    subprocess.run(["sh", "-c", script], check=True)
    lab.link.heal()


#: Each fault, and the parts of a way without which there is none such.
FAULTS: dict[Callable[[Lab], None], tuple[str, ...]] = {
    cut_often: (),
    refused: (),
    short_hole: (),
    long_hole: (),
    hole_in_which_it_breaks: (),
    slow: (),
    master_killed: ("master",),
    master_terminated: ("master",),
    master_stopped: ("master",),
    session_killed: ("session",),
    session_stopped: ("session",),
    program_killed: ("program",),
    program_stopped: ("program",),
    relay_killed: ("relay",),
    relay_stopped: ("relay",),
    helper_killed: ("helper",),
    helper_stopped: ("helper",),
    agent_stopped_briefly: ("agent",),
    agent_stopped: ("agent",),
    kernel_stopped: ("kernel",),
    laptop_asleep: (),
}

#: Those that each test run tries on other ways than the first, beside what the soak tries on all.
OF_OTHERS: dict[Callable[[Lab], None], list[str]] = {
    cut_often: ["relay", "carried"],
    refused: ["carried"],
    helper_killed: ["carried"],
}


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        pytest.param(way, fault, id=f"{way}-{fault.__name__}")
        for fault, parts in FAULTS.items()
        for way in params(OF_OTHERS.get(fault, ()), parts=parts)
    ],
    indirect=["way"],
)
def test_every_message_arrives_once_and_in_order(fault: Callable[[Lab], None], lab: Lab) -> None:
    with started("far") as (manager, client), Watched(client) as watched:
        pid = run_pid(watched)
        first = watched.start(WORK)
        watched.wait(lambda: "10" in watched.lines)
        breaking = threading.Thread(target=fault, args=(lab,))
        breaking.start()
        second = watched.start("print('asked meanwhile')")
        breaking.join(PATIENCE)
        begun = time.monotonic()
        assert watched.finish(first)["content"]["status"] == "ok"
        assert watched.finish(second)["content"]["status"] == "ok"
        print(f"{fault.__name__}: whole {time.monotonic() - begun:.1f} s after its end")
        assert watched.lines[-101:] == [*map(str, range(100)), "asked meanwhile"]
        assert watched.check() > 110
        assert manager.is_alive()
        assert run_pid(watched) == pid, "the kernel was restarted"


def run_pid(watched: Watched) -> str:
    watched.run("import os; print(f'\\npid {os.getpid()}')")
    return [line for line in watched.lines if line.startswith("pid")][-1]


@pytest.mark.parametrize("way", params(), indirect=True)
def test_a_link_on_which_nothing_happens_is_left_alone(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than it takes to notice that a host does not answer: this one does."""
    with started("far") as (_, client), Watched(client) as watched:
        logins = lab.link.connections
        lab.pause(2 * PING_AFTER + PATIENCE_FOR_PONG)
        watched.run("")
        assert lab.link.connections == logins
    assert "reconnecting" not in caplog.text


POUR = """
from IPython.display import display
for number in range(40):
    display({"application/octet-stream": "x" * 1_000_000}, raw=True)
"""


@pytest.mark.parametrize("way", ["relay"], indirect=True)
def test_sessions_that_carry_together_may_end_one_by_one(way: Way, lab: Lab) -> None:
    """From afar a stream has several; the agent sends again what was in one that ended."""
    way.link.set_delay(0.05)
    with started("far") as (_, client), Watched(client) as watched:
        first = watched.start(POUR)
        while len(relays := way.chain.pids("relay")) < 3:
            assert not watched.is_idle(first)
            lab.pause(0.05)
        os.kill(relays[-1], signal.SIGKILL)
        watched.finish(first)
        assert watched.check() > 40
        second = watched.start(POUR)
        os.kill(relays[1], signal.SIGSTOP)
        watched.finish(second)
        os.kill(relays[1], signal.SIGCONT)
        assert watched.check() > 80
    way.link.set_delay(0)
