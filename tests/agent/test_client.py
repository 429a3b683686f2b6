"""A client's streams at a kernel that takes no connection: stopped, with many who wait already."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sshpyk.agent.client import TRY_AGAIN, Client
from sshpyk.agent.loop import READ
from sshpyk.agent.spool import Limits
from sshpyk.wire.carrier import Carrier
from sshpyk.wire.frames import DATA, OPEN, Frame
from sshpyk.wire.ports import Target
from tests.agent.test_kernel import full
from tests.agent.test_loop import Driver
from tests.lab.kernels import PATIENCE, run_code, started, write_spec
from tests.lab.sshd import Sshd


def client_at(driver: Driver, addresses: dict[str, Any]) -> tuple[Client, Carrier]:
    owner = mock.Mock()
    owner.address = addresses.get
    client = Client("a", owner, driver.loop, Limits(1 << 20, 0, "/"), None)
    carrier = Carrier(mock.Mock(), 1 << 16)
    client.attachment.add(carrier)
    return client, carrier


def say(client: Client, carrier: Carrier, id: int, channel: bytes) -> None:
    frames = [Frame(OPEN, id, 0, channel), Frame(DATA, id, 0, b"hello from " + channel)]
    client.attachment.receive(carrier, frames, client._loop.now())


@pytest.mark.timeout(20)
def test_streams_wait_for_a_kernel_whose_queue_is_full(short_tmp: Path) -> None:
    listener, waiting = full(short_tmp / "hb")
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(short_tmp / "shell"))
    other.listen()
    driver = Driver()
    channels = ("hb", "shell")
    client, carrier = client_at(driver, {name: str(short_tmp / name) for name in channels})
    for id in (1, 2, 3):
        say(client, carrier, id, b"hb")
    say(client, carrier, 4, b"shell")
    with other.accept()[0] as kernel:  # which does not wait behind the others
        assert kernel.recv(100) == b"hello from shell"
    now = driver.loop.now()
    retry = client.tick(now)[1]
    assert retry is not None
    assert now < retry <= now + TRY_AGAIN
    with contextlib.ExitStack() as stack:
        for _ in waiting[:-1]:
            stack.enter_context(listener.accept()[0])
        client.tick(retry)
        taken = stack.enter_context(listener.accept()[0])
        assert taken.recv(100) == b"hello from hb"
    client.close()
    for sock in (listener, other, *waiting):
        sock.close()


def test_who_comes_for_a_port_alone_does_not_use_the_kernel(short_tmp: Path) -> None:
    driver = Driver()
    client, carrier = client_at(driver, {})
    port = Target(str(short_tmp / "nobody")).channel.encode()
    used = []
    for id, channel in enumerate([port, b"shell"], 1):  # the second waits for its kernel
        say(client, carrier, id, channel)
        used.append(client.uses_kernel)
    assert used == [False, True]
    client.close()


def test_a_port_whose_queue_is_full_connects_later() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    address = listener.getsockname()
    waiting = []
    for _ in range(8):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        waiting.append(sock)
    driver = Driver()
    driver.end_at += PATIENCE
    client, carrier = client_at(driver, {"shell": address})
    say(client, carrier, 1, b"shell")
    (kernel,) = client._kernels.values()
    assert kernel.is_connecting
    got: list[bytes] = []

    def accept(events: int) -> None:
        """The kernel goes on: it takes them all, and reads."""
        sock = listener.accept()[0]
        stack.enter_context(sock)

        def read(events: int) -> None:
            got.append(sock.recv(100))
            driver.loop.watch(sock.fileno(), 0, read)
            if got[-1]:
                driver.stop()

        driver.loop.watch(sock.fileno(), READ, read)

    with contextlib.ExitStack() as stack:
        driver.loop.watch(listener.fileno(), READ, accept)
        assert driver.run()
    assert got[-1] == b"hello from shell"
    client.close()
    for sock in (listener, *waiting):
        sock.close()


@pytest.mark.sshd
@pytest.mark.slow
def test_a_kernel_that_is_stopped_can_be_restarted_however_many_wait_for_it(sshd: Sshd) -> None:
    """As an editor's heartbeats do, which connect again each second that there is no answer."""
    write_spec("remote", sshd)
    with started("remote") as (manager, client), contextlib.ExitStack() as stack:
        link = manager.provisioner.kernel  # type: ignore[union-attr]
        agent = int(run_code(client, "import os; print(os.getppid())"))
        pid = int(run_code(client, "print(os.getpid())"))
        os.kill(pid, signal.SIGSTOP)
        count = 130  # its ZMQ sockets have room for a hundred each
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", manager.hb_port))
            stack.enter_context(sock)
        deadline = time.monotonic() + PATIENCE
        # Until all have come to the agent, so that those beyond the hundred wait there.
        while len(os.listdir(f"/proc/{agent}/fd")) < 2 * 100:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while sum(s.was_announced for s in list(link.streams.attachment.streams.values())) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print(6 * 7)") == "42\n"
