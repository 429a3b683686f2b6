"""Schedules: whatever may happen to streams and their carriers, in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sshpyk.wire.attachment import CONTROL

from .fakewire import FakeWire
from .pair import Pair

ACTIONS = (
    *("open", "write", "write", "write", "flood", "close", "client", "agent"),
    *("both", "both", "both", "wait", "wait"),
    *("cut", "silence", "speak", "reconnect", "late", "another", "again", "resend", "slow", "fast"),
)


@dataclass(frozen=True)
class Action:
    """Something happens: `which` chooses a stream or connection, `side` an end, `size` how much."""

    name: str
    which: int
    side: int
    size: int


class Play:
    """One schedule, played on a pair of ends."""

    def __init__(self, actions: list[Action], seed: int) -> None:
        self.rng = random.Random(seed)
        self.wire = FakeWire(self.rng)
        self.pair = Pair(self.wire)
        for action in actions:
            getattr(self, action.name)(action)
        self.finish()

    def finish(self) -> None:
        """The wire recovers; check that everything comes right."""
        silent = any(c.silent or c.other.silent for c in self.wire.connections)
        self.wire.calm()
        for end in (self.pair.client, self.pair.agent):
            for endpoint in end.endpoints.values():
                endpoint.room = None
        if silent and self.rng.random() < 0.5:
            # Otherwise no new generation: that sends all again, and would hide what is stuck.
            self.pair.client.reconnect()
        self.pair.settle()
        for id in self.pair.client.endpoints:
            for end in (self.pair.client, self.pair.agent):
                end.close(id)
        self.pair.settle()
        assert list(self.pair.client.streams) == list(self.pair.agent.streams) == [CONTROL]
        for _ in range(10):  # whatever is on the way still
            self.pair.step()
            self.wire.wait(0.5)
        assert list(self.pair.agent.streams) == [CONTROL], "an old stream came back"
        control = self.pair.client.attachment.control
        assert all(link.carrier.streams == [control] for link in self.pair.client.links)

    def open(self, action: Action) -> None:
        if len(self.pair.client.streams) < 6:
            self.pair.open()

    def write(self, action: Action) -> None:
        data = self.rng.randbytes(action.size)
        (self.pair.client, self.pair.agent)[action.side].write(self.id(action), data)

    def flood(self, action: Action) -> None:
        data = self.rng.randbytes(action.size * 20)
        (self.pair.client, self.pair.agent)[action.side].write(self.id(action), data)

    def close(self, action: Action) -> None:
        (self.pair.client, self.pair.agent)[action.side].close(self.id(action))

    def client(self, action: Action) -> None:
        self.pair.client.step()

    def agent(self, action: Action) -> None:
        self.pair.agent.step()

    def both(self, action: Action) -> None:
        for _ in range(action.size % 8):
            self.pair.step()
            self.wire.wait(0.01)

    def wait(self, action: Action) -> None:
        self.wire.wait(action.size / 100)

    def cut(self, action: Action) -> None:
        if self.wire.connections:
            self.wire.connections.pop(action.which % len(self.wire.connections)).cut()

    def silence(self, action: Action) -> None:
        """A connection brings nothing in one direction, or in both."""
        if self.wire.connections:
            connection = self.wire.connections[action.which % len(self.wire.connections)]
            connection.silent = connection.silent or action.side == 0
            connection.other.silent = connection.other.silent or action.size % 3 > 0

    def speak(self, action: Action) -> None:
        for connection in self.wire.connections:
            connection.silent = connection.other.silent = False

    def reconnect(self, action: Action) -> None:
        self.pair.client.reconnect()

    def late(self, action: Action) -> None:
        """Everything falls silent, a new generation comes, and then the old bytes."""
        old = list(self.wire.connections)
        for connection in old:
            connection.other.silent = True
        self.pair.client.reconnect()
        for _ in range(action.size % 4):
            self.pair.step()
            self.wire.wait(0.1)
        for connection in old:
            connection.other.silent = False

    def another(self, action: Action) -> None:
        """One more carrier for a stream, or for two."""
        streams = list(self.pair.client.streams.values())
        first = streams[action.which % len(streams)]
        if first.carriers < 4:
            self.pair.client.dial(first, *streams[: action.side])

    def again(self, action: Action) -> None:
        """OPEN once more, where it was sent already."""
        for link in self.pair.client.links[action.which % 4 :][:1]:
            self.pair.client.attachment.add(link.carrier, link.carrier.streams)

    def resend(self, action: Action) -> None:
        stream = (self.pair.client, self.pair.agent)[action.side].streams.get(self.id(action))
        if stream is not None:
            stream.resend()

    def slow(self, action: Action) -> None:
        end = (self.pair.client, self.pair.agent)[action.side]
        end.endpoints[self.id(action)].room = action.size % 3 * 10

    def fast(self, action: Action) -> None:
        (self.pair.client, self.pair.agent)[action.side].endpoints[self.id(action)].room = None

    def id(self, action: Action) -> int:
        """The younger half of the streams are chosen more often."""
        ids = list(self.pair.client.streams)
        return ids[action.which % len(ids)]


def schedule(seed: int) -> list[Action]:
    rng = random.Random(seed)
    names = [*rng.sample(ACTIONS, rng.randint(6, len(ACTIONS))), "both", "write"]
    return [
        Action(rng.choice(names), rng.randint(0, 9), rng.randint(0, 1), rng.randint(0, 99))
        for _ in range(rng.randint(5, 80))
    ]
