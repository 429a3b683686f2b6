"""The agent's loop, over epoll and over poll, which is what systems without epoll have."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

import pytest

from sshpyk.agent.loop import READ, SOON, WRITE, Connection, Loop
from sshpyk.common.sockets import Socket


@pytest.fixture(params=["epoll", "poll"], autouse=True)
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll")


class Driver:
    """A loop that ends by itself after two seconds; `defects` counts, `ticks` are their times."""

    def __init__(self) -> None:
        self.loop = Loop(self.tick, self.on_defect)
        self.end_at = self.loop.now() + 2.0
        self.defects = 0
        self.ticks: list[float] = []

    def tick(self, now: float) -> float:
        self.ticks.append(now)
        if now >= self.end_at:
            self.loop.running = False
        return self.end_at

    def on_defect(self) -> None:
        self.defects += 1

    def run(self) -> bool:
        """Whether it was ended before its time."""
        self.loop.run()
        return self.ticks[-1] < self.end_at

    def stop(self) -> None:
        self.loop.running = False


class Echo(Connection):
    """Keeps what it gets; calls `then` when it has so many bytes, or is closed."""

    def __init__(self, loop: Loop, sock: Socket, then: Callable[[], None], size: int = 0) -> None:
        self.data = b""
        self.was_closed = False
        self.then = then
        self.size = size
        super().__init__(loop, sock)

    def on_data(self, data: bytes) -> None:
        self.data += data
        if len(self.data) == self.size:
            self.then()

    def on_closed(self) -> None:
        self.was_closed = True
        self.then()


def pair() -> tuple[Socket, Socket]:
    one, other = socket.socketpair()
    return Socket(fileno=one.detach()), Socket(fileno=other.detach())


def test_more_than_a_socket_takes_at_once() -> None:
    driver = Driver()
    one, other = pair()
    data = os.urandom(3_000_000)
    reader = Echo(driver.loop, other, driver.stop, len(data))
    writer = Echo(driver.loop, one, driver.stop)
    writer.send([data[:10], data[10:2_000_000], data[2_000_000:]])
    was_blocked = writer.is_blocked
    assert driver.run()
    assert reader.data == data
    assert (was_blocked, writer.is_blocked) == (True, False)
    reader.close()
    writer.close()


def test_a_hang_up_is_told_once() -> None:
    driver = Driver()
    one, other = pair()
    connection = Echo(driver.loop, one, driver.stop)
    other.close()
    assert driver.run()
    assert connection.was_closed
    assert connection.is_closed


def test_a_hang_up_of_a_pipe_is_something_to_read() -> None:
    driver = Driver()
    reader, writer = os.pipe()
    os.close(writer)
    heard = []

    def read(events: int) -> None:
        heard.append((events, os.read(reader, 10)))
        driver.stop()

    driver.loop.watch(reader, READ, read)
    assert driver.run()
    assert heard == [(READ, b"")]
    os.close(reader)


def test_the_tick_comes_soon_after_a_callback_and_at_its_time() -> None:
    driver = Driver()
    reader, writer = os.pipe()
    called: list[float] = []

    def read(events: int) -> None:
        os.read(reader, 1)
        called.append(driver.loop.now())
        driver.end_at = called[0] + 0.2

    driver.loop.watch(reader, READ, read)
    os.write(writer, b"x")
    driver.loop.run()
    soon, last = [at - called[0] for at in driver.ticks if at > called[0]]
    assert SOON <= soon < last
    assert last >= 0.2
    os.close(reader)
    os.close(writer)


def test_in_a_hurry_the_tick_comes_first() -> None:
    driver = Driver()
    reader, writer = os.pipe()
    order = []

    def read(events: int) -> None:
        order.append(len(driver.ticks))
        driver.loop.hurry()
        if len(order) == 3:
            driver.stop()

    driver.loop.watch(reader, READ, read)
    os.write(writer, b"x")  # is never read, so the callback is due each time
    assert driver.run()
    assert order == [1, 2, 3]
    os.close(reader)
    os.close(writer)


def test_a_defect_costs_its_descriptor_only() -> None:
    driver = Driver()
    bad, good = os.pipe(), os.pipe()
    heard = []

    def fail(events: int) -> None:
        raise ZeroDivisionError

    def read(events: int) -> None:
        heard.append(os.read(good[0], 10))
        driver.stop()

    def write(events: int) -> None:
        os.write(good[1], b"y")
        driver.loop.watch(good[1], 0, write)
        driver.loop.watch(good[0], READ, read)

    driver.loop.watch(bad[0], READ, fail)
    os.write(bad[1], b"x")
    driver.loop.watch(good[1], WRITE, write)
    assert driver.run()
    assert driver.defects == 1
    assert heard == [b"y"]
    for fd in (*bad, *good):
        os.close(fd)
