"""What a stream must do, whatever its carriers travel on.

Run every one of `CHECKS` with a fresh `Wire` of the kind to be tested.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .pair import End, Pair, Wire

SOME = bytes(random.Random(0).randbytes(300_000))


def brings_everything_both_ways(wire: Wire) -> None:
    pair = Pair(wire)
    ids = [pair.open(channel) for channel in ("control", "shell", "iopub")]
    pair.run_until(lambda: len(pair.agent.streams) == 4)
    for id in ids:
        pair.client.write(id, SOME[id:])
        pair.agent.write(id, SOME[: -id - 1])
        pair.client.write(id, b"more")
        pair.client.say()
        pair.agent.say()
    pair.settle()


def brings_single_bytes(wire: Wire) -> None:
    pair = Pair(wire)
    id = pair.open()
    pair.run_until(lambda: id in pair.agent.streams)
    for number in range(200):
        end = (pair.client, pair.agent)[number % 2]
        end.write(id, bytes([number]))
        end.say()
        pair.step()
    pair.settle()


def answers_promptly(wire: Wire) -> None:
    """What one end writes is there before any acknowledgement would be due."""
    pair = Pair(wire)
    id = pair.open()
    there = pair.agent.endpoints[id]
    pair.client.write(id, b"question")
    pair.run_until(lambda: there.received == 8)
    pair.agent.write(id, b"answer")
    pair.run_until(lambda: pair.client.endpoints[id].received == 6)
    pair.settle()


def goes_on_after_cuts(wire: Wire) -> None:
    pair = Pair(wire)
    ids = [pair.open(), pair.open()]
    for number in range(5):
        for id in ids:
            pair.client.write(id, SOME)
            pair.agent.write(id, SOME)
        before = received(pair)
        pair.run_until(lambda before=before: received(pair) > before)  # type: ignore[misc]
        wire.cut()
        if number % 2:
            pair.client.reconnect()
    pair.settle()


def says_the_end_after_the_last_byte(wire: Wire) -> None:
    for closes in (0, 1):
        pair = Pair(wire)
        id = pair.open()
        pair.run_until(lambda id=id, pair=pair: id in pair.agent.streams)  # type: ignore[misc]
        end: End = (pair.client, pair.agent)[closes]
        end.write(id, SOME)
        end.close(id)
        pair.settle()
        for link in pair.client.links[:]:
            pair.client.forget(link)


def ends_when_both_close(wire: Wire) -> None:
    pair = Pair(wire)
    id = pair.open()
    pair.run_until(lambda: id in pair.agent.streams)
    for end in (pair.client, pair.agent):
        end.write(id, SOME)
        end.close(id)
    pair.settle()


def ends_although_the_wire_is_cut(wire: Wire) -> None:
    pair = Pair(wire)
    stays, ends = pair.open(), pair.open()
    pair.run_until(lambda: len(pair.agent.streams) == 3)
    pair.agent.write(ends, SOME)
    pair.agent.close(ends)
    pair.run_until(lambda: pair.client.endpoints[ends].ended)
    wire.cut()
    pair.client.write(stays, SOME)
    pair.settle()


def uses_several_carriers(wire: Wire) -> None:
    pair = Pair(wire)
    id = pair.open()
    stream = pair.client.streams[id]
    for _ in range(4):
        pair.client.dial(stream)
    for _ in range(10):
        pair.client.write(id, SOME)
        pair.agent.write(id, SOME)
        pair.step()
    pair.settle()


def waits_for_a_slow_endpoint(wire: Wire) -> None:
    pair = Pair(wire)
    id = pair.open()
    there = pair.agent.endpoints[id]
    there.room = 0
    pair.client.write(id, SOME)
    pair.run_until(lambda: id in pair.agent.streams and bool(pair.agent.streams[id].peek()))
    assert pair.client.streams[id].unacknowledged == len(SOME)
    there.room = None
    pair.settle()


def received(pair: Pair) -> int:
    ends = (pair.client, pair.agent)
    return sum(endpoint.received for end in ends for endpoint in end.endpoints.values())


CHECKS: list[Callable[[Wire], None]] = [
    brings_everything_both_ways,
    brings_single_bytes,
    answers_promptly,
    goes_on_after_cuts,
    says_the_end_after_the_last_byte,
    ends_when_both_close,
    ends_although_the_wire_is_cut,
    uses_several_carriers,
    waits_for_a_slow_endpoint,
]
