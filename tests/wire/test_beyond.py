"""What waits behind a gap: no byte twice, small pieces joined, and not too many."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from sshpyk.wire import beyond
from sshpyk.wire.beyond import MAX_PIECES, SMALL, Beyond
from sshpyk.wire.frames import DATA, Frame, ProtocolError
from sshpyk.wire.stream import Stream

TEXT = bytes(random.Random(1).randbytes(400))


@pytest.mark.parametrize("seed", range(300))
def test_any_pieces_in_any_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(beyond, "SMALL", rng.choice((1, 8, SMALL)))
    waiting = Beyond()
    here: set[int] = set()
    position = 0
    for _ in range(60):
        start = rng.randint(position + 1, 390)
        piece = TEXT[start : start + rng.randint(1, 40)]
        waiting.add(start, piece)
        here |= set(range(start, start + len(piece)))
        assert waiting.size == len(here)
        if rng.random() < 0.1:
            position += rng.randint(0, 20)
            for taken in waiting.take(position):
                assert taken == TEXT[position : position + len(taken)]
                position += len(taken)
            assert position not in here
            here = {byte for byte in here if byte > position}
            assert waiting.size == len(here)
            if position > 380:
                break
    assert bool(waiting) == bool(here)


def test_more_gaps_than_a_peer_leaves() -> None:
    waiting = Beyond()
    for number in range(MAX_PIECES):
        waiting.add(2 * number, b"x")
    with pytest.raises(ProtocolError):
        waiting.add(2 * MAX_PIECES, b"x")


@pytest.mark.parametrize("first", [0, 1], ids=["undelivered", "behind a gap"])
def test_single_bytes_take_no_more_memory_than_they_are_worth(first: int) -> None:
    stream = Stream(1, "shell")
    count = 200_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for position in range(first, first + count):
            stream.receive(Frame(DATA, 1, position, TEXT[position % 400 : position % 400 + 1]), 0.0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 2 * count
    if first:
        stream.receive(Frame(DATA, 1, 0, TEXT[:1]), 0.0)
    received = b""
    while piece := stream.peek():
        received += piece
        stream.consume(len(piece), 0.0)
    assert received == (TEXT * (count // 400 + 1))[: count + first]
