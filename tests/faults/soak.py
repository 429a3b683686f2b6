"""Minutes of faults, at random but by a seed, while a client works: python -m tests.faults.soak

Everything that the kernel says it sent must arrive once and in order, and every request must have
its reply. Prints a table; ends with status 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from tests.faults.record import Watched
from tests.faults.ways import FORWARDS, WAYS, Way, to_host
from tests.lab.kernels import facts_of, left_behind, started

#: Seconds between the end of a fault and the beginning of the next, on average.
GAP = 0.5

#: Seconds for one cell, faults and all.
PATIENCE = 300.0

MB = 1 << 20

PREPARE = """
import os, threading, time
from IPython.display import display
def show(size):
    display({"application/octet-stream": os.urandom(size // 2 + 1).hex()[:size]}, raw=True)
def opened(comm, message):
    comm.on_msg(lambda message: comm.send(message["content"]["data"]))
get_ipython().kernel.comm_manager.register_target("echo", opened)
"""


#: How often each kind of fault comes, and the part of a way without which there is none such.
KINDS = {
    "cut": (6, ""),
    "refuse": (4, ""),
    "hole": (4, ""),
    "long_hole": (1, ""),
    "slow": (2, ""),
    "master_killed": (2, "master"),
    "master_stopped": (1, "master"),
    "program_killed": (2, "program"),
    "program_stopped": (1, "program"),
    "session_killed": (2, "session"),
    "session_stopped": (1, "session"),
    "relay_killed": (2, "relay"),
    "relay_stopped": (1, "relay"),
    "helper_killed": (1, "helper"),
    "agent_stopped": (1, "agent"),
    "kernel_stopped": (1, "kernel"),
    "client_stopped": (1, ""),
}

#: Those that take long.
LONG = ("long_hole", "client_stopped")


class Faults:
    """The schedule: one fault after the other, each with an end, until `stop`.

    First each kind that `way` has once, in any order, and without `LONG` if `is_brief`; then by
    chance.
    """

    def __init__(self, random: random.Random, way: Way, work: Work, *, is_brief: bool) -> None:
        self.random = random
        self.work = work
        self.link = way.link
        self.chain = way.chain
        self.ended: list[tuple[str, float]] = []  # each one's kind, and time.monotonic() at its end
        self.begun: list[float] = []  # time.monotonic() at the beginning of each
        self.each_came = threading.Event()
        self._kinds = [
            kind
            for kind, (_, part) in KINDS.items()
            if (not part or part in way.parts) and not (is_brief and kind in LONG)
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults")
        self._thread.start()

    def stop(self) -> None:
        """Let the present one end, and begin no other."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        weights = [KINDS[kind][0] for kind in self._kinds]
        first = self.random.sample(self._kinds, len(self._kinds))
        while not self._over.wait(self.random.expovariate(1 / GAP)):
            kind = first.pop() if first else self.random.choices(self._kinds, weights)[0]
            self.begun.append(time.monotonic())
            getattr(self, kind)(self.random.uniform(0.1, 2.0))
            self.ended.append((kind, time.monotonic()))
            if not first:
                self.each_came.set()

    def cut(self, seconds: float) -> None:
        self.link.cut()

    def refuse(self, seconds: float) -> None:
        self.link.refuse()
        self.link.cut()
        time.sleep(seconds)
        self.link.accept()

    def hole(self, seconds: float) -> None:
        self.link.hole()
        time.sleep(seconds)
        self.link.heal()

    def long_hole(self, seconds: float) -> None:
        self.hole(11 + seconds)

    def slow(self, seconds: float) -> None:
        self.link.set_delay(seconds / 10)
        self.link.set_rate(1e6)
        time.sleep(seconds)
        self.link.set_rate(0)
        self.link.set_delay(0)

    def master_killed(self, seconds: float) -> None:
        self.chain.send("master", signal.SIGKILL)

    def master_stopped(self, seconds: float) -> None:
        self._stop("master", seconds)

    def program_killed(self, seconds: float) -> None:
        self.chain.send("program", signal.SIGKILL)

    def program_stopped(self, seconds: float) -> None:
        self._stop("program", seconds)

    def session_killed(self, seconds: float) -> None:
        self.chain.send("session", signal.SIGKILL)

    def session_stopped(self, seconds: float) -> None:
        self._stop("session", seconds)

    def relay_killed(self, seconds: float) -> None:
        self.chain.send("relay", signal.SIGKILL)

    def relay_stopped(self, seconds: float) -> None:
        self._stop("relay", seconds)

    def helper_killed(self, seconds: float) -> None:
        self.chain.send("helper", signal.SIGKILL)

    def agent_stopped(self, seconds: float) -> None:
        self._stop("agent", seconds)

    def kernel_stopped(self, seconds: float) -> None:
        # A signal that comes to a stopped process is any thread's afterwards, and where it is not
        # the main one Python goes on with its sleep: a local kernel's interrupt is lost then, too.
        with self.work.interrupting:
            self._stop("kernel", seconds)

    def client_stopped(self, seconds: float) -> None:
        """All of this process, and with it the link: a laptop that sleeps."""
        me = os.getpid()
        script = f"kill -STOP {me}; sleep {4 + seconds}; kill -CONT {me}"
        subprocess.run(["sh", "-c", script], check=True)

    def _stop(self, part: str, seconds: float) -> None:
        pids = self.chain.pids(part)
        for signum in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            if signum == signal.SIGSTOP:
                time.sleep(seconds)


class Work:
    """What the client does: one cell of a random kind after the other."""

    def __init__(self, random: random.Random, manager: KernelManager, watched: Watched) -> None:
        self.random = random
        self.manager = manager
        self.watched = watched
        self.done: collections.Counter[str] = collections.Counter()
        self.interrupting = threading.Lock()
        watched.run(PREPARE)

    def once(self) -> None:
        """One cell, and its reply."""
        kinds = [self.text, self.slow_text, self.displays, self.error, self.ask, self.comms]
        kind = self.random.choice([*kinds, self.interrupt])
        kind()
        self.done[kind.__name__] += 1

    def _run(self, code: str, **kwargs: Any) -> dict[str, Any]:
        id = self.watched.start(code, **kwargs)
        content: dict[str, Any] = self.watched.finish(id, PATIENCE)["content"]
        return content

    def text(self) -> None:
        count = self.random.randrange(1, 5000)
        assert self._run(f"for n in range({count}): print(n)")["status"] == "ok"

    def slow_text(self) -> None:
        count = self.random.randrange(1, 60)
        code = f"for n in range({count}): print(n, flush=True); time.sleep(0.05)"
        assert self._run(code)["status"] == "ok"

    def displays(self) -> None:
        """From 1 B to 50 MB; the large ones are rare."""
        sizes = [int((50 * MB) ** self.random.random()) for _ in range(5)]
        if self.random.random() < 0.1:
            sizes.append(int(50 * MB * self.random.random()))
        assert self._run(f"for size in {sizes}: show(size)")["status"] == "ok"

    def error(self) -> None:
        assert self._run("1 / 0")["ename"] == "ZeroDivisionError"

    def ask(self) -> None:
        text = str(self.random.random())
        id = self.watched.start("answer = input('? ')", allow_stdin=True)
        self.watched.client.get_stdin_msg(timeout=PATIENCE)
        self.watched.client.input(text)
        assert self.watched.finish(id, PATIENCE)["content"]["status"] == "ok"
        assert self._run(f"assert answer == {text!r}")["status"] == "ok"

    def comms(self) -> None:
        """What is sent to a comm in the kernel comes back, in order."""
        client = self.watched.client
        comm = str(self.random.random())
        answers: list[int] = []

        def on_message(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "comm_msg" and content["comm_id"] == comm:
                answers.append(content["data"]["number"])

        self.watched.on_message = on_message
        content = {"comm_id": comm, "target_name": "echo", "data": {}}
        client.shell_channel.send(client.session.msg("comm_open", content))
        numbers = list(range(self.random.randrange(1, 50)))
        for number in numbers:
            content = {"comm_id": comm, "data": {"number": number}}
            client.shell_channel.send(client.session.msg("comm_msg", content))
        assert self._run("pass")["status"] == "ok"
        deadline = time.monotonic() + PATIENCE
        while len(answers) < len(numbers) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert answers == numbers

    def interrupt(self) -> None:
        begun = f"begun {self.random.random()}"
        # By a thread, once the cell sleeps: ipykernel loses some that come as it prints.
        tell = f"threading.Timer(0.2, print, [{begun!r}]).start()"
        id = self.watched.start(f"{tell}; time.sleep(10**6)")
        self.watched.wait(lambda: begun in "".join(self.watched.text[-5:]), PATIENCE)
        with self.interrupting:
            self.manager.interrupt_kernel()
            assert self.watched.finish(id, PATIENCE)["content"]["ename"] == "KeyboardInterrupt"


def run(seconds: float, seed: int, home: Path, name: str = FORWARDS) -> str:
    """Work for `seconds` under the faults of `seed`, and until each kind has come; the table.

    By the way of that `name` (`ways.WAYS`). `home` is empty, and the kernels' home directory on the
    host. Raises AssertionError where something was lost.
    """
    with to_host(name, home) as way:
        way.write_spec("soak")
        with started("soak") as (manager, client), Watched(client) as watched:
            work = Work(random.Random(seed), manager, watched)
            pid = facts_of(manager)["pid"]
            faults = Faults(random.Random(seed), way, work, is_brief=not seconds)
            begun = time.monotonic()
            try:
                while time.monotonic() < begun + seconds or not faults.each_came.is_set():
                    work.once()
                    del watched.text[:-5]
            except AssertionError as error:
                raise AssertionError(f"{error}; faults: {faults.ended}") from error
            finally:
                faults.stop()
            messages = watched.check()
            took = time.monotonic() - begun
            assert manager.is_alive()
            assert facts_of(manager)["pid"] == pid
        assert left_behind(home) == []
    return table(name, seed, took, messages, watched, work, faults)


def table(
    name: str, seed: int, took: float, messages: int, watched: Watched, work: Work, faults: Faults
) -> str:
    """What happened, for people."""
    arrivals = watched.arrivals
    stall = max(b - a for a, b in itertools.pairwise(arrivals))
    back: dict[str, list[float]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    for (kind, ended), next_one in zip(faults.ended, [*faults.begun[1:], math.inf], strict=True):
        counts[kind] += 1
        after = next((at for at in arrivals if at >= ended), math.inf)
        if after < next_one:  # else the next fault is to blame
            back[kind].append(after - ended)
    cells = ", ".join(f"{count} {kind}" for kind, count in sorted(work.done.items()))
    lines = [
        f"{name}, seed {seed}: {took:.0f} s, {len(faults.ended)} faults, one every "
        f"{took / max(1, len(faults.ended)):.1f} s; {messages} messages, "
        f"{watched.bytes / MB:.0f} MB: none missing, none twice, none out of order",
        f"cells: {cells}; longest time without a message {stall:.1f} s",
        f"{'fault':18}{'times':>6}   from its end to the first message: median, longest",
    ]
    for kind, count in sorted(counts.items()):
        times = back[kind] or [math.nan]
        lines.append(f"{kind:18}{count:6}   {statistics.median(times):.2f} s, {max(times):.2f} s")
    return "\n".join(lines)


@contextlib.contextmanager
def directories() -> Iterator[Path]:
    """Jupyter directories of this run's own, and a home for the host."""
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/tmp") as name:
        for variable in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{variable}_DIR"] = os.path.join(name, variable.lower())
        home = Path(name) / "home"
        home.mkdir()
        yield home


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, default=FORWARDS)
    options = parser.parse_args()
    with directories() as home:
        try:
            print(run(60 * options.minutes, options.seed, home, options.way))
        except AssertionError as error:
            print(f"seed {options.seed}: {error!r}", file=sys.stderr)
            raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
