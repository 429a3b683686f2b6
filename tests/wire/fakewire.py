"""A wire in memory with a clock of its own: late, slow, silent, cut at any byte."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from .pair import Connection

#: Bytes on the way in one direction at most.
CAPACITY = 2000


class FakeConnection:
    """One end; `other` is the other one."""

    def __init__(self, wire: FakeWire) -> None:
        self.other = self
        self.silent = False  # nothing arrives here for now, and no end either
        self.end_at: float | None = None  # when this end sees that the connection has ended
        self._wire = wire
        self._inbox: deque[tuple[float, bytes]] = deque()  # (when it is there, what)
        self._size = 0

    def send(self, data: bytes) -> int:
        if self.end_at is not None and self._wire.now >= self.end_at and not self.silent:
            raise BrokenPipeError
        room = CAPACITY - self.other._size
        data = data[: min(room, self._wire.some(CAPACITY))]
        if data and self.end_at is None:
            last = self.other._inbox[-1][0] if self.other._inbox else 0.0
            self.other._inbox.append((max(last, self._wire.now + self._wire.delay()), data))
            self.other._size += len(data)
        return len(data)

    def receive(self) -> bytes | None:
        if self.silent:
            return None
        if self._inbox:
            due, data = self._inbox[0]
            if due > self._wire.now:
                return None
            size = self._wire.may_bring(min(len(data), self._wire.some(len(data))))
            if size:
                del self._inbox[0]
                if data[size:]:
                    self._inbox.appendleft((due, data[size:]))
                self._size -= size
                self._wire.brought += size
                return data[:size]
        if self.end_at is not None and self._wire.now >= self.end_at:
            return b""
        return None

    def close(self) -> None:
        """What was sent still arrives, then the end."""
        if self.end_at is None:
            self.other.end_at = self._wire.now + self._wire.delay()
        self.end_at = self._wire.now
        self._inbox.clear()
        self._size = 0

    def cut(self) -> None:
        """Break it in the midst of what is on the way, in both directions."""
        for end in (self, self.other):
            if end.end_at is None:
                end.end_at = self._wire.now + self._wire.delay()
            end.truncate(self._wire.some(end._size + 1) - 1)

    def truncate(self, size: int) -> None:
        """Of what is on the way to here only `size` bytes arrive."""
        kept: deque[tuple[float, bytes]] = deque()
        for due, data in self._inbox:
            if size > 0:
                kept.append((due, data[:size]))
                size -= len(data)
        self._inbox = kept
        self._size = sum(len(data) for _, data in kept)


class FakeWire:
    """Without `rng` everything arrives at once and whole.

    With `cut_after` every connection breaks when so many bytes have been brought, all together.
    """

    def __init__(self, rng: random.Random | None = None, cut_after: int | None = None) -> None:
        self.now = 1000.0
        self.brought = 0
        self.cut_after = cut_after
        self.on_cut: Callable[[], None] = lambda: None
        self.connections: list[FakeConnection] = []  # the clients' ends of those that are whole
        self._all: list[FakeConnection] = []
        self._rng = rng
        self._new: list[FakeConnection] = []

    def dial(self) -> FakeConnection:
        here, there = FakeConnection(self), FakeConnection(self)
        here.other, there.other = there, here
        self.connections.append(here)
        self._all += (here, there)
        self._new.append(there)
        return here

    def accept(self) -> list[Connection]:
        new: list[Connection] = list(self._new)
        self._new.clear()
        if self._rng is not None:
            self._rng.shuffle(new)
        return new

    def cut(self) -> None:
        for connection in self.connections:
            connection.cut()
        self.connections.clear()

    def calm(self) -> None:
        """From now on everything arrives, and in time."""
        self._rng = None
        for connection in self._all:
            connection.silent = False

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def close(self) -> None:
        self.cut()

    def delay(self) -> float:
        """How long what is sent now is on the way."""
        return self._rng.choice((0.0, 0.0, 0.01, 0.05, 0.5)) if self._rng is not None else 0.0

    def some(self, most: int) -> int:
        """From one to `most`."""
        return self._rng.randint(1, most) if self._rng is not None else most

    def may_bring(self, size: int) -> int:
        """How many of `size` bytes may arrive now."""
        if self.cut_after is None:
            return size
        if self.brought >= self.cut_after:
            self.cut_after = None
            for connection in self.connections:
                for end in (connection, connection.other):
                    end.end_at = self.now
                    end.truncate(0)
            self.connections.clear()
            self.on_cut()
            return 0
        return min(size, self.cut_after - self.brought)
