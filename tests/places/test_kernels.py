"""Kernels in places that a command leads to: they run, nothing is lost, nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.jupyter import persistence
from sshpyk.link.thread import io_thread
from sshpyk.remotekernel import State
from sshpyk.transport.command import Command
from sshpyk.transport.process import Process
from tests.faults.test_outages import Lines
from tests.lab.containers import Containers
from tests.lab.kernels import left_behind, link_of, run_code, started, until_status, write_card
from tests.lab.sshd import Sshd

PATIENCE = 60.0

PRINT = """
import time
for number in range(200):
    print(number, flush=True)
    time.sleep(0.01)
"""


def place_of(manager: KernelManager) -> Command:
    transport = link_of(manager).transport
    assert isinstance(transport, Command)
    return transport


def relay_pid(manager: KernelManager) -> int:
    """The process that all kernels of the place share on this side."""
    relay = place_of(manager)._shared.relay
    assert relay is not None
    assert isinstance(relay._program, Process)
    return relay._program._process.pid


def test_no_line_is_lost_when_the_command_is_killed(home: Path) -> None:
    write_card("near", via="env SOME='a b'")
    with started("near") as (manager, client):
        pid = run_code(client, "import os; print(os.getpid())")
        with started("near") as (other_manager, other):
            assert run_code(other, "print(6 * 7)") == "42\n"
            assert relay_pid(manager) == relay_pid(other_manager)
            first = client.execute(PRINT)
            lines = Lines(client)
            lines.read_until(lambda: len(lines.lines) >= 40)
            os.kill(relay_pid(manager), signal.SIGKILL)
            lines.read_until(lambda: len(lines.lines) >= 100)
            os.kill(relay_pid(manager), signal.SIGKILL)
            lines.read_until(lambda: first in lines.idle)
            assert lines.lines == [*map(str, range(200))]
            assert run_code(other, "print(6 * 7)") == "42\n"
        os.kill(relay_pid(manager), signal.SIGSTOP)  # silent, and not ended
        io_thread().submit(doubt(manager)).result(PATIENCE)
        assert run_code(client, "print(os.getpid())") == pid
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print(1)") == "1\n"
    assert left_behind(home) == []


async def doubt(manager: KernelManager) -> None:
    """Have the link look at once whether it is heard, as when a laptop wakes up."""
    link = link_of(manager)
    link._connectivity.woke(link.streams.now())
    link.transport.heard_at = float("-inf")  # not by the kernel that has just ended either


def test_a_command_that_joins_its_words_has_kernels(home: Path) -> None:
    enter = home / "enter"
    enter.write_text('#!/bin/sh\nexec sh -c "$*"\n')
    enter.chmod(0o755)
    write_card("joined", via=str(enter))
    with started("joined") as (manager, client):
        os.kill(relay_pid(manager), signal.SIGKILL)
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert left_behind(home) == []


def test_a_container_has_kernels_until_it_restarts(docker: Containers) -> None:
    container = docker.make("box")
    write_card("boxed", via="docker exec -i box")
    with started("boxed") as (manager, client):
        code = "import os, socket; print(socket.gethostname(), os.path.expanduser('~'))"
        assert run_code(client, code) == f"box {container.home}\n"
        assert len(run_code(client, "print('x' * 20_000_000)")) == 20_000_001
        manager.interrupt_kernel()
        client.execute("import time; time.sleep(600)")
        container.stop()
        # Nothing is certain while it can't be entered.
        status = until_status(manager, lambda status: isinstance(status.trouble, errors.NotRunning))
        assert status.state is State.AWAY
        assert manager.is_alive()
        container.start()
        status = until_status(manager, lambda status: status.state is State.EXITED)
        assert status.exited is not None
        assert "its container was restarted" in status.exited["note"]
        assert not manager.is_alive()
    with started("boxed") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    container.assert_clean()


def test_a_kernel_is_left_in_a_container_and_found_again(docker: Containers) -> None:
    container = docker.make("box")
    write_card("boxed", via="docker exec -i box", persistent=True)
    manager = KernelManager(kernel_name="boxed")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE)
    run_code(client, "left = 42")
    client.stop_channels()
    path = manager.provisioner.persistence_path  # type: ignore[union-attr]  # it is ours
    manager.shutdown_kernel()
    saved = json.loads(Path(path).read_text())
    assert saved["transport"] == "command"
    assert saved["host"] == {"command": "docker exec -i box", "outer": None}
    assert persistence.read(path).destination.host == "docker:box"
    write_card("again", via="docker exec -i other", existing=path)
    with started("again") as (manager, client):
        assert place_of(manager).host == "docker:box"
        assert run_code(client, "print(left)") == "42\n"
        io_thread().submit(link_of(manager).end()).result(PATIENCE)
    container.assert_clean()


@pytest.mark.parametrize("program", ["podman exec -i box", "kubectl exec -i -n lab box --"])
def test_other_containers(docker: Containers, program: str) -> None:
    container = docker.make("box")
    write_card("boxed", via=program)
    with started("boxed") as (_, client):
        assert run_code(client, "import socket; print(socket.gethostname())") == "box\n"
    container.assert_clean()


@pytest.mark.sshd
def test_inside_a_container_on_a_host(
    docker: Containers, linked_sshd: Sshd, tmp_path: Path
) -> None:
    link = linked_sshd.link
    assert link is not None
    container = docker.make("box")
    write_card(
        "far",
        ssh_host_alias=linked_sshd.host,
        ssh_config=str(linked_sshd.ssh_config),
        inside=f"{docker.bin}/docker exec -i box",
    )
    with started("far") as (manager, client):
        assert place_of(manager).host.endswith(f"docker exec -i box on {linked_sshd.host}")
        first = client.execute(PRINT)
        lines = Lines(client)
        lines.read_until(lambda: len(lines.lines) >= 40)
        link.cut()
        lines.read_until(lambda: len(lines.lines) >= 100)
        for process in container.processes():  # the relay in the container, not the way to it
            pid, _, title = process.partition(" ")
            if "python" in title and "ipykernel" not in title and is_relay(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
        lines.read_until(lambda: first in lines.idle)
        assert lines.lines == [*map(str, range(200))]
        container.stop()
        until_status(manager, lambda status: isinstance(status.trouble, errors.NotRunning))
        container.start()
        until_status(manager, lambda status: status.state is State.EXITED)
    write_card(
        "bad",
        ssh_host_alias=linked_sshd.host,
        ssh_config=str(linked_sshd.ssh_config),
        inside="no-such-program exec -i box",
    )
    with pytest.raises(errors.NoSuchCommand), started("bad"):
        pass
    container.assert_clean()
    assert left_behind(tmp_path) == []


def is_relay(pid: int) -> bool:
    """Whether a process of ours has a pipe for its input, as a relay has and an agent has not."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/0").startswith("pipe:")
    return False
