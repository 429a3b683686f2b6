"""Output that nobody takes: it waits on the host's disk, and a full disk holds the kernel up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from jupyter_client.blocking.client import BlockingKernelClient

from tests.faults.record import Watched
from tests.faults.ways import Way, params, to_host
from tests.lab.forks import BELOW_STATE, end_all
from tests.lab.kernels import PATIENCE, left_behind, started

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

MB = 1 << 20

#: Output while the link is away, in MB; set FAULTS_SPOOL_MB=2048 for the whole promise.
SPOOL_MB = int(os.environ.get("FAULTS_SPOOL_MB", "300"))

#: What either side may need for it, in bytes.
MOST_MEMORY = 64 * MB

#: Each message has 1 MB, and none is like another.
POUR = """
import os
from IPython.display import display
for number in range({count}):
    display({{"application/octet-stream": os.urandom(1 << 19).hex()}}, raw=True)
    with open({path!r} + ".new", "w") as file:
        file.write(str(number + 1))
    os.replace({path!r} + ".new", {path!r})  # whoever reads it sees a number
"""


OWNER = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
print(manager.connection_file, flush=True)
sys.stdin.read()
manager.shutdown_kernel()
"""


@contextlib.contextmanager
def apart(name: str) -> Iterator[tuple[str, BlockingKernelClient]]:
    """A kernel whose link is in a process of its own, whose id comes first, and a client here.

    So that what ZMQ keeps for a reader slower than the link, a thousand messages of any size, is
    not counted as the link's.
    """
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", OWNER, name]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        client = BlockingKernelClient(connection_file=owner.stdout.readline().strip())
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=PATIENCE)
            yield str(owner.pid), client
        finally:
            client.stop_channels()
            owner.stdin.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", params(), indirect=True)
def test_a_great_backlog_takes_little_memory(way: Way, tmp_path: Path) -> None:
    link = way.link
    way.write_spec("far")
    poured = tmp_path / "poured"
    with apart("far") as (mine, client), Watched(client) as watched:
        [agent] = way.chain.pids("agent")
        link.refuse()
        link.cut()
        request = watched.start(POUR.format(count=SPOOL_MB, path=str(poured)))
        # The request itself has to get there first.
        link.accept()
        wait_for(poured.exists)
        link.refuse()
        link.cut()
        wait_for(lambda: poured.read_text() == str(SPOOL_MB), 4 * PATIENCE)
        away = SPOOL_MB * MB - watched.bytes
        before = memory(mine, "VmRSS")
        forget_peak(mine)
        begun = time.monotonic()
        link.accept()
        watched.finish(request, 10 * PATIENCE)
        took = time.monotonic() - begun
        more = memory(mine, "VmHWM") - before
        its = memory(str(agent), "VmHWM")
        print(
            f"\n{away >> 20} MB waited and came in {took:.1f} s; "
            f"agent {its / MB:.0f} MB at most, client {more / MB:.0f} MB more"
        )
        assert watched.check() >= SPOOL_MB
        assert its < MOST_MEMORY
        assert more < MOST_MEMORY
    assert left_behind(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs here: {made.stderr}")
    yield path

    def is_unmounted() -> bool:
        end_all(path, BELOW_STATE)
        return subprocess.run(["umount", str(path)], capture_output=True).returncode == 0

    wait_for(is_unmounted)  # an agent that has said all may not have ended yet


@pytest.mark.parametrize("name", params())
def test_a_full_disk_is_told_and_holds_the_kernel_up(
    name: str, small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    poured = tmp_path / "poured"
    environment = {"XDG_STATE_HOME": str(small_disk)}
    with to_host(name, tmp_path, environment=environment) as way:
        way.write_spec("far", memory_limit=4 * MB)
        with started("far") as (manager, client), Watched(client) as watched:
            watched.run("print(__import__('os').getpid())")
            pid = int(watched.lines[-1])
            request = watched.start(POUR.format(count=80, path=str(poured)))
            wait_for(poured.exists)
            way.link.refuse()
            way.link.cut()
            wait_for(lambda: state(pid) == "T")
            assert 10 < int(poured.read_text()) < 80
            assert manager.is_alive()
            way.link.accept()
            watched.finish(request)
            assert watched.check() >= 80
            told = [r.getMessage() for r in caplog.records if "paused" in r.getMessage()]
            assert told  # again, where the kernel fills it anew before all of it has come
            assert all("No space left on device" in text for text in told)
            assert all(str(small_disk) in text for text in told)
            wait_for(lambda: any("goes on" in r.getMessage() for r in caplog.records))
        assert os.listdir(small_disk / "sshpyk" / "kernels") == []


@pytest.mark.parametrize("way", params(), indirect=True)
def test_a_slow_reader_holds_nobody_up(way: Way, tmp_path: Path) -> None:
    """One client reads nothing: the other does not notice, and the first gets it all later."""
    way.write_spec("far")
    poured = tmp_path / "poured"
    with started("far") as (manager, client), Watched(client) as watched:
        [agent] = way.chain.pids("agent")
        slow = manager.context.socket(zmq.SUB)
        slow.setsockopt(zmq.RCVHWM, 1)
        slow.setsockopt(zmq.RCVBUF, 64 * 1024)
        slow.subscribe(b"")
        slow.connect(manager._make_url("iopub"))
        try:
            while not slow.poll(100):  # until the kernel knows of its subscription
                watched.run("print('a first message')")
            watched.run(POUR.format(count=200, path=str(poured)))
            # Beside what one client takes: twelve carriers in place of one, each with a turn under
            # way. 58 to 69 MB were measured.
            assert memory(str(agent), "VmHWM") < MOST_MEMORY + 16 * MB
            pieces = 0
            while pieces < 200:
                assert slow.poll(PATIENCE * 1000), f"only {pieces} arrived"
                pieces += sum(map(len, slow.recv_multipart())) > MB
            assert watched.check() >= 200
        finally:
            slow.close(linger=0)
    assert left_behind(tmp_path) == []


def wait_for(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Wait for something that nobody tells us of."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memory(pid: str, name: str) -> int:
    """VmRSS or VmHWM, its highest, of a process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def forget_peak(pid: str) -> None:
    """Let VmHWM begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def state(pid: int) -> str:
    """One letter of how a process is; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
