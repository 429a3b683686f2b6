"""The program that is an allocation's job, run here as a scheduler would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.schedulers import holder

SOURCE = Path(holder.__file__).read_text("utf-8")
PATIENCE = 30.0


class Holding:
    """A holder, and the script that leads to it."""

    def __init__(self, home: Path, idle: float) -> None:
        self.directory = home / "allocations"
        self.script = self.directory / "12"
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SOURCE, str(idle), "12", str(self.directory)],
            env={**os.environ, "HOME": str(home), "OF_THE_JOB": "yes"},
        )

    def run(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """As BY_HOLDER does: wait until it is there, and run words by it."""
        wait = 'until [ -x "$0" ]; do sleep 0.02; done; exec "$0" "$@"'
        argv = ["sh", "-c", wait, str(self.script), *words]
        return subprocess.run(argv, input=data, capture_output=True, timeout=PATIENCE)

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(self.script.read_text().split()[-2])


@pytest.fixture
def holding(short_tmp: Path) -> Iterator[Holding]:
    made = Holding(short_tmp, 60)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait(PATIENCE)


def test_a_command_has_its_own_pipes_and_status_in_the_job(holding: Holding) -> None:
    data = bytes(range(256)) * 1000
    done = holding.run("sh", "-c", "cat; echo $OF_THE_JOB >&2; exit 7", data=data)
    assert (done.returncode, done.stdout, done.stderr) == (7, data, b"yes\n")
    assert holding.run("sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert holding.run("/no/such/program").returncode == 127


#: Comes to its next step only when the other side has closed, as on a busy machine.
SLOW = """
import select,socket
class Slow(socket.socket):
    def sendmsg(self, *arguments):
        sent = super().sendmsg(*arguments)
        hangup = select.poll()
        hangup.register(self, select.POLLHUP)
        hangup.poll()
        return sent
socket.socket = Slow
"""


def test_a_command_may_end_before_it_is_known_to_have_begun(holding: Holding) -> None:
    assert holding.run("true").returncode == 0
    argv = [sys.executable, "-c", SLOW + holder.ENTER, str(holding.socket), "sh", "-c", "exit 7"]
    assert subprocess.run(argv, timeout=PATIENCE).returncode == 7


def test_what_goes_on_holds_it_and_it_ends_when_nothing_does(short_tmp: Path) -> None:
    holding = Holding(short_tmp, 0.5)
    # As an agent does: a session of its own, its parent ended, and none of the pipes.
    begun = holding.run("sh", "-c", "setsid sleep 2 >/dev/null 2>&1 </dev/null & echo $!")
    pid = int(begun.stdout)
    socket = holding.socket
    assert holding.process.wait(PATIENCE) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not holding.script.exists()
    assert not socket.parent.exists()


def test_what_was_started_ends_with_who_waits_for_it(holding: Holding) -> None:
    holding.run("true")
    asking = subprocess.Popen(
        [holding.script, "sh", "-c", "echo $$; exec sleep 1000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert asking.stdout is not None
    pid = int(asking.stdout.readline())
    asking.kill()
    asking.communicate()
    gone = holding.run("sh", "-c", f"while kill -0 {pid} 2>/dev/null; do sleep 0.02; done")
    assert gone.returncode == 0


def test_it_lets_nobody_else_in_and_passes_the_end_on(holding: Holding) -> None:
    holding.run("true")
    assert holding.script.stat().st_mode & 0o777 == 0o700
    assert holding.directory.stat().st_mode & 0o777 == 0o700
    assert holding.socket.parent.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        # Even where the directory is open: whoever connects is asked who he is.
        holding.socket.parent.chmod(0o755)
        holding.socket.chmod(0o777)
        other = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.sendall(b'[\"id\"]\\n'); print(s.recv(9))"
        )
        done = subprocess.run(
            ["/usr/bin/python3", "-c", other, str(holding.socket)],
            user=65534,
            group=65534,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        refused = ("b''", "ConnectionResetError", "BrokenPipeError")
        assert any(word in done.stdout + done.stderr for word in refused), done.stderr
    holding.run("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    holding.process.send_signal(signal.SIGTERM)
    assert holding.process.wait(PATIENCE) == 0
