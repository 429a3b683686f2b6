"""Kernels that a fork server has forked: as a new process is, and with a fate of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.agent import forking, records
from tests.lab import same
from tests.lab.forks import (
    FORKS,
    fork_server,
    fork_servers,
    is_running,
    quick,
    title_space,
    was_forked,
)
from tests.lab.kernels import (
    PATIENCE,
    STATE,
    facts_of,
    link_of,
    run_code,
    started,
    until,
    write_spec,
)
from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from sshpyk.wire.requests import Exit

pytestmark = pytest.mark.sshd

#: Run in a kernel.
SAME = f"""
import sys
modules = sorted(sys.modules)
{Path(same.__file__).read_text().replace("from __future__ import annotations", "")}
import json
print(json.dumps(facts(modules)))
"""


@pytest.fixture(autouse=True)
def quickly() -> Iterator[None]:
    """Fork servers come and go at once."""
    with quick():
        yield


@pytest.fixture
def nothing_left(sshd: Sshd, remote_home: Path) -> Iterator[None]:
    """Whatever a test does, nothing stays, the fork server included."""
    leftovers = Leftovers(sshd, remote_home)
    yield
    leftovers.assert_clean(masters=99)  # theirs is another matter
    until(lambda: os.listdir(remote_home / FORKS) == [])


@pytest.fixture
def first(
    sshd: Sshd, remote_home: Path, nothing_left: None
) -> Iterator[tuple[KernelManager, BlockingKernelClient, int]]:
    """A kernel that has started a fork server, and the pid of that."""
    write_spec("forked", sshd, fork_server=True)
    with started("forked") as (manager, client):
        yield manager, client, fork_server(remote_home)["pid"]


First = tuple[KernelManager, BlockingKernelClient, int]


def pid_of(manager: KernelManager) -> int:
    return facts_of(manager)["pid"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def agent_of(manager: KernelManager, home: Path) -> int:
    record = json.loads((home / STATE / link_of(manager).agent.id / "record.json").read_text())
    return int(record["agent_pid"])


def exit_of(manager: KernelManager) -> Exit:
    """How the kernel has ended, when it has."""
    until(lambda: link_of(manager).exited is not None)
    exited = link_of(manager).exited
    assert exited is not None
    return exited


def restart(manager: KernelManager, client: BlockingKernelClient) -> None:
    manager.restart_kernel()
    client.wait_for_ready(timeout=PATIENCE)


def test_it_is_what_a_new_process_is(first: First) -> None:
    manager, client, server = first
    assert not was_forked(pid_of(manager), server)
    new = json.loads(run_code(client, SAME).splitlines()[-1])
    restart(manager, client)
    assert was_forked(pid_of(manager), server)
    forked = json.loads(run_code(client, SAME).splitlines()[-1])
    for key in new:
        assert forked[key] == new[key], key
    assert new["its parent"]
    assert "pip 2" in run_code(client, "%pip --version")


def test_it_gives_way_only_until_it_is_ready(first: First) -> None:
    """Else a busy machine would let others run first at each fork, for seconds."""
    _, _, server = first
    assert os.getpriority(os.PRIO_PROCESS, server) == os.getpriority(os.PRIO_PROCESS, 0)
    for session in Path("/proc").glob(f"{server}/autogroup"):  # where the system schedules sessions
        assert session.read_text().split()[-1] == "0"


def test_nothing_random_is_the_same_twice(first: First) -> None:
    manager, client, _ = first
    code = """
import multiprocessing, os, random, secrets, tempfile, uuid
print([random.random(), bytes(multiprocessing.current_process().authkey), secrets.token_hex(),
       uuid.uuid4(), uuid.uuid1(), tempfile.mktemp()])
"""
    restart(manager, client)
    one = run_code(client, code)
    restart(manager, client)
    other = run_code(client, code)
    assert not set(one.strip("[]\n").split(", ")) & set(other.strip("[]\n").split(", "))


def test_how_it_ended_is_known(first: First, sshd: Sshd) -> None:
    manager, client, server = first
    for code, wanted in (
        ("os._exit(3)", {"code": 3, "signum": None}),
        ("os.kill(os.getpid(), signal.SIGSEGV)", {"code": None, "signum": signal.SIGSEGV}),
    ):
        restart(manager, client)
        pid = pid_of(manager)
        assert was_forked(pid, server)
        words = "os.write(sys.stderr._original_stdstream_copy, b'last words')"
        client.execute(f"import os, signal, sys; {words}; large = b'x' * 200_000_000; {code}")
        exited = exit_of(manager)
        assert {"code": exited["code"], "signum": exited["signum"]} == wanted
        assert exited["pid"] == pid
        assert "last words" in exited["stderr"]
        assert 200e6 < (exited["peak"] or 0) < 400e6
        assert not os.path.exists(f"/proc/{pid}"), "nobody has buried it"


def test_each_has_a_fate_of_its_own(first: First, remote_home: Path) -> None:
    manager, client, server = first
    restart(manager, client)
    with contextlib.ExitStack() as stack:
        second, second_client = stack.enter_context(started("forked"))
        third, _ = stack.enter_context(started("forked"))
        fourth, _ = stack.enter_context(started("forked"))
        for one in (manager, second, third, fourth):
            assert was_forked(pid_of(one), server)
        os.kill(server, signal.SIGKILL)
        os.kill(pid_of(third), signal.SIGKILL)
        assert exit_of(third)["signum"] == signal.SIGKILL
        os.kill(parent_of(pid_of(fourth)), signal.SIGKILL)
        assert exit_of(fourth)["signum"] == signal.SIGKILL
        for survivor in (client, second_client):
            assert run_code(survivor, "print(6 * 7)") == "42\n"
        pid = pid_of(second)
        reporter = parent_of(pid)
        os.kill(agent_of(second, remote_home), signal.SIGKILL)
        until(lambda: not is_running(pid) and not is_running(reporter))
        assert run_code(client, "print(6 * 7)") == "42\n"
        # The next restart has to do without, and the one after that need not.
        restart(manager, client)
        assert fork_server(remote_home, other_than=server)["pid"] != server


def test_an_interrupt_and_a_shutdown(first: First) -> None:
    manager, client, server = first
    restart(manager, client)
    pid = pid_of(manager)
    assert was_forked(pid, server)
    request = client.execute("import time; print('up'); time.sleep(600)")
    while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=PATIENCE)
    while reply["parent_header"]["msg_id"] != request:
        reply = client.get_shell_msg(timeout=PATIENCE)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    manager.shutdown_kernel()
    until(lambda: not is_running(pid))


def test_what_was_installed_since_is_there(
    sshd: Sshd, remote_home: Path, tmp_path: Path, nothing_left: None
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    write_spec("stale", sshd, fork_server=True, env={"PYTHONPATH": str(packages)})
    with started("stale") as (manager, client):
        server = fork_server(remote_home)["pid"]
        restart(manager, client)
        assert was_forked(pid_of(manager), server)
        space = title_space(server)  # it ends when it finds that it is stale
        (packages / "sitecustomize.py").write_text("import sys; sys.brand_new = True")
        restart(manager, client)
        assert title_space(pid_of(manager)) != space
        assert run_code(client, "import sys; print(sys.brand_new)") == "True\n"
        later = fork_server(remote_home, other_than=server)["pid"]
        restart(manager, client)
        assert was_forked(pid_of(manager), later)
        assert run_code(client, "import sys; print(sys.brand_new)") == "True\n"
        write_spec("other", sshd, fork_server=True, env={"PYTHONPATH": str(packages), "A": "b"})
        with started("other") as (other, _):
            assert not was_forked(pid_of(other), later), "its environment is another"


@pytest.mark.parametrize(
    "settings",
    [{"fork_server": False}, {"fork_server": True, "setup": ["true"]}],
    ids=["not wanted", "lines to run before it"],
)
def test_others_start_as_new_processes(first: First, sshd: Sshd, settings: dict[str, Any]) -> None:
    write_spec("new", sshd, **settings)
    with started("new") as (manager, client):
        assert not was_forked(pid_of(manager), first[2])
        assert run_code(client, "print(6 * 7)") == "42\n"


def test_who_has_to_wait_hears_that_it_works(first: First, remote_home: Path) -> None:
    server = first[2]
    (record,) = fork_servers(remote_home)
    with contextlib.ExitStack() as stack:
        os.kill(server, signal.SIGSTOP)
        stack.callback(os.kill, server, signal.SIGCONT)
        waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        for sock in waiting:
            sock.settimeout(PATIENCE)
            sock.connect(os.path.join(record["directory"], forking.SOCKET))
            sock.sendall(forking.HEAD.pack(b"F", 0))  # not whole: its reporter ends at once
        os.kill(server, signal.SIGCONT)
        heard = [sock.makefile("rb").read() for sock in waiting]
    assert sorted(heard) == [number * b"working\n" for number in range(4)]


def test_a_server_that_works_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = SimpleNamespace(record_path="", rest=3, module="ipykernel")
    monkeypatch.setattr(forking, "command_of", lambda plan, argv: command)
    monkeypatch.setattr(records, "has_forks", lambda: True)
    monkeypatch.setattr(records, "read", lambda path: {"directory": str(tmp_path)})
    plan: Any = SimpleNamespace(cwd="/", env={})

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(2 * b"working\n" + b"pid 4711\n")
            while connection.recv(1000):
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / forking.SOCKET))
        listener.listen()
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        forked = forking.fork(plan, ["python", "-m", "ipykernel"], 0o77, 1, 2)
        assert forked is not None
        pid, report = forked
        assert pid == 4711
        report.close()
        server.join()


def test_nobody_else_can_reach_it(
    first: First, remote_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = fork_servers(remote_home)
    directory = Path(record["directory"])
    for path in (remote_home / FORKS, directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (remote_home / FORKS).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (sock,) = directory.iterdir()
    assert stat.S_IMODE(sock.stat().st_mode) & 0o077 == 0
    monkeypatch.setenv("HOME", str(remote_home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (told,) = forking.describe_all()
    assert told["pid"] == first[2]
    assert told["memory"] > 1e6
