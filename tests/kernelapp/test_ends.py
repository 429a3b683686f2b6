"""After every way to end, what is left on both sides is what should be: a table."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from sshpyk.common.processes import start_time
from sshpyk.private import runtime_directory
from tests.lab.kernels import PATIENCE, STATE, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import CTRL_BACKSLASH, Terminal

pytestmark = pytest.mark.sshd

SSHPYK = [sys.executable, "-m", "sshpyk.cli"]


class Run(NamedTuple):
    """A running `sshpyk-kernel` and where its things are."""

    terminal: Terminal
    home: Path
    record: dict[str, Any]
    file: str

    @property
    def agent(self) -> int:
        pid: int = self.record["agent_pid"]
        return pid

    @property
    def kernel(self) -> int:
        pid: int = self.record["kernel"]["pid"]
        return pid


@pytest.fixture
def server(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server of this test's own, and a place for forwards where nobody else's are."""
    (short_tmp / "run").mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp / "run"))
    with Sshd(home=short_tmp) as server:
        yield server


def sshpyk(*words: str) -> str:
    done = subprocess.run([*SSHPYK, *words], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr


def ps() -> list[tuple[str, str]]:
    rows = json.loads(sshpyk("ps", "--json", "--all").partition("]\n")[0] + "]")
    return [(row["state"], row["ended"] or "") for row in rows]


def shut_down(run: Run) -> None:
    run.terminal.send(signal.SIGUSR2)
    assert run.terminal.end() == 0


def exit_by_itself(run: Run) -> None:
    client = BlockingKernelClient()
    client.load_connection_file(run.file)
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE)
    client.execute("exit()")
    run.terminal.expect("The kernel has ended")
    assert run.terminal.end() == 0
    client.stop_channels()
    client.context.destroy(linger=100)


def leave_then_stop(run: Run) -> None:
    run.terminal.press(CTRL_BACKSLASH)
    assert run.terminal.end() == 0
    assert [state for state, _ in ps()] == ["detached"]
    assert "stopped" in sshpyk("stop", run.record["id"])


def kill_client_then_lease(run: Run) -> None:
    run.terminal.send(signal.SIGKILL)
    run.terminal.end()
    # The lease of two seconds runs out.


def kill_client_then_stop_lost(run: Run) -> None:
    run.terminal.send(signal.SIGKILL)
    run.terminal.end()
    wait_until(lambda: [state for state, _ in ps()] == ["lost"])
    assert "stopped" in sshpyk("stop", "--lost")


def kill_agent(run: Run) -> None:
    os.kill(run.agent, signal.SIGKILL)
    run.terminal.expect("The kernel has ended")
    assert run.terminal.end() == 1


def kill_kernel(run: Run) -> None:
    os.kill(run.kernel, signal.SIGKILL)
    run.terminal.expect("The kernel has ended")
    assert run.terminal.end() == 1


def reboot(run: Run) -> None:
    """As a reboot leaves it: no process, /tmp empty, and a record of another boot."""
    path = run.home / STATE / run.record["id"] / "record.json"
    path.write_text(json.dumps({**run.record, "boot_id": "the one before"}))
    kill_agent(run)
    shutil.rmtree(run.record["sockets"], ignore_errors=True)


def remove_all(run: Run) -> None:
    """Left, and then somebody cleans up /tmp and the home."""
    run.terminal.press(CTRL_BACKSLASH)
    assert run.terminal.end() == 0
    shutil.rmtree(run.record["sockets"])
    shutil.rmtree(run.home / STATE / run.record["id"])


#: The way to end; whether it was persistent; whether `ps --all` tells of it, and the words.
ENDS: list[tuple[Callable[[Run], None], bool, str | None]] = [
    (shut_down, False, None),
    (shut_down, True, "a client ended it"),
    (leave_then_stop, True, "told to stop"),
    (kill_client_then_lease, False, "its lease ran out"),
    (kill_client_then_stop_lost, True, "told to stop"),
    (exit_by_itself, True, "exit status 0"),
    (kill_agent, True, "agent is gone"),
    (kill_kernel, False, None),
    (kill_kernel, True, "signal 9"),
    (reboot, True, "agent is gone"),
    (remove_all, False, "directories are gone"),
]


@pytest.mark.parametrize(("end", "persistent", "told"), ENDS)
def test_what_is_left(
    server: Sshd,
    short_tmp: Path,
    end: Callable[[Run], None],
    persistent: bool,
    told: str | None,
) -> None:
    lease = 2 if end is kill_client_then_lease else 1000
    write_spec("remote", server, lease=lease)
    before = links()
    options = ["--persistent"] if persistent else []
    argv = [sys.executable, "-m", "sshpyk.kernelapp", "--kernel", "remote", *options]
    with Terminal(argv) as terminal:
        file = terminal.match(r"jupyter console --existing (\S+)\n").group(1)
        terminal.expect("shows a menu")
        (path,) = (short_tmp / STATE).glob("*/record.json")
        run = Run(terminal, short_tmp, json.loads(path.read_text()), file)
        sockets = Path(run.record["sockets"])
        assert sockets.is_dir()
        assert len(links() - before) == 1
        end(run)

    wait_until(lambda: start_time(run.agent) is None)
    wait_until(lambda: start_time(run.kernel) is None)
    # What `ps` says, which also clears up what nobody could.
    wait_until(lambda: not [state for state, _ in ps() if state != "exited"])
    found = ps()
    assert len(found) == (told is not None)
    if told is not None:
        assert told in found[0][1]
    # On the host: no socket, no directory; of logs only what is kept for those who come back.
    assert not sockets.exists()
    assert [name for name in os.listdir(short_tmp / STATE) if "." not in name] == []
    if told is None:
        assert os.listdir(short_tmp / STATE) == []
    # Here: no forward and no connection file, unless the client was killed; the next one that
    # connects to any host takes those back.
    if end in (kill_client_then_lease, kill_client_then_stop_lost):
        with Terminal(argv) as terminal:
            terminal.expect("shows a menu")
            wait_until(lambda: len(links() - before) == 1)
            terminal.send(signal.SIGUSR2)
            assert terminal.end() == 0
    else:
        assert not os.path.exists(file)
    assert links() - before == set()


def links() -> set[str]:
    """The directories of forwards of all processes of this test."""
    return {name for name in os.listdir(runtime_directory()) if name.startswith("link-")}


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait for what another process does."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return True
