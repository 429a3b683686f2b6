"""What a kernel costs, where that does not depend on the machine: programs, round trips, bytes."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from tests.lab.kernels import PATIENCE, client_of, link_of, run_code, started, write_spec
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


class Calls:
    """An ssh, `program`, that writes down how it was called."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "calls"
        self.program = directory / "ssh"
        self.program.write_text(
            f'#!/bin/sh\necho "$*" >>{shlex.quote(str(self._log))}\n'
            f'exec {shutil.which("ssh")} "$@"\n'
        )
        self.program.chmod(0o700)

    def kinds(self) -> list[str]:
        """What each of the calls since the last question was for."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return [self._kind(line.split()) for line in lines]

    @staticmethod
    def _kind(words: list[str]) -> str:
        for option in ("-O", "-G", "-N"):
            if option in words:
                return words[words.index(option) + 1] if option == "-O" else option
        return "session"


def test_how_often_ssh_is_called(linked_sshd: Sshd, tmp_path: Path) -> None:
    calls = Calls(tmp_path)
    write_spec("counted", linked_sshd, ssh=str(calls.program))
    with started("counted") as (manager, client):
        run_code(client, "print(6 * 7)")
        assert calls.kinds() == ["-G", "-N", "session"]  # the first on this host
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        manager.interrupt_kernel()
        assert calls.kinds() == []
        other = KernelManager(kernel_name="counted")
        other.start_kernel()
        with client_of(other) as second:
            run_code(second, "print(6 * 7)")
        assert calls.kinds() == ["session"]  # forwards are asked of the master itself
        other.shutdown_kernel()
        other.context.destroy(linger=100)
        assert calls.kinds() == []
    assert calls.kinds() == []


def test_how_many_round_trips_a_start_takes(linked_sshd: Sshd) -> None:
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd)

    def seconds() -> float:
        """From the start's beginning to the first reply."""
        manager = KernelManager(kernel_name="remote")
        begun = time.monotonic()
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.kernel_info(reply=True, timeout=PATIENCE)
        taken = time.monotonic() - begun
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=100)
        return taken

    seconds()  # with the login
    near = seconds()
    link.set_delay(0.5)  # a second a round trip: so long that the machine's own moods don't count
    far = seconds()
    link.set_delay(0)
    # Four, one behind the other: ssh's session; its window; the launch's answer, with which come
    # the kernel's greetings; the request.
    assert far - near < 4.5


def test_how_much_an_idle_kernel_sends(linked_sshd: Sshd) -> None:
    """And that it stays connected, though no loop of its blocking manager runs meanwhile, for
    longer than it takes to call a silent link dead."""
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd)
    with started("remote") as (manager, client):
        run_code(client, "print(6 * 7)")
        client.stop_channels()  # whose heartbeat is not ours
        generation = link_of(manager).streams.attachment.generation
        time.sleep(2)  # until what was said to it has gone
        before = link.bytes_up + link.bytes_down
        time.sleep(20)  # nothing is awaited: that little happens is what is tested
        assert link.bytes_up + link.bytes_down - before <= 2000
        with client_of(manager) as again:
            assert run_code(again, "print(6 * 7)") == "42\n"
        assert link_of(manager).streams.attachment.generation == generation


def test_the_kernel_sends_its_output_once(linked_sshd: Sshd) -> None:
    """To each client; the agent overhears one of them, and goes on alone while there is none."""
    write_spec("remote", linked_sshd)
    with started("remote") as (manager, client):
        count = "print(open('/proc/net/unix').read().count(get_ipython().kernel.parent.ip + '-2'))"
        # The socket that listens, and the connections.
        assert run_code(client, count) == "2\n"
        with client_of(manager) as second:
            assert run_code(second, count) == "3\n"
            client.stop_channels()
            run_code(second, "")  # what it brings, the agent's own connection brings too
            assert run_code(second, count) == "2\n"
        with client_of(manager) as again:
            assert run_code(again, count) == "2\n"
