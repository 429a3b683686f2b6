"""The plain store of unacknowledged bytes."""

from __future__ import annotations

import random

import pytest

from sshpyk.wire import stream as stream_module
from sshpyk.wire.stream import Memory


def everything(memory: Memory) -> bytes:
    """All that it keeps, read as a stream reads it."""
    result = b""
    while memory.start + len(result) < memory.end:
        piece = memory.read(memory.start + len(result), 7)
        assert 1 <= len(piece) <= 7
        result += piece
    return result


def test_small_pieces_become_one(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    for number in range(1000):
        memory.append(b"%03d" % number)
    assert memory.read(0, 4000) == b"".join(b"%03d" % number for number in range(1000))
    assert memory.read(1501, 3) == b"005"


def test_release_in_the_middle_of_a_piece() -> None:
    memory = Memory()
    memory.append(b"abc")
    memory.append(b"def")
    memory.release(4)
    assert (memory.start, memory.end) == (4, 6)
    assert memory.read(4, 10) == b"ef"
    memory.append(b"ghi")
    memory.release(3)  # an old acknowledgement
    assert everything(memory) == b"efghi"


def test_append_after_clear() -> None:
    memory = Memory(100)
    memory.append(b"gone")
    memory.clear()
    assert (memory.start, memory.end) == (104, 104)
    memory.append(b"here")
    assert memory.read(105, 2) == b"er"
    memory.clear()
    memory.clear()
    memory.append(b"")
    memory.append(b"x")
    assert everything(memory) == b"x"


@pytest.mark.parametrize("seed", range(50))
def test_keeps_what_a_plain_bytearray_keeps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "CHUNK", 16)
    rng = random.Random(seed)
    memory = Memory()
    model = b""
    start = 0
    for _ in range(300):
        choice = rng.randrange(4)
        if choice < 2:
            data = rng.randbytes(rng.choice((0, 1, 5, 16, 17, 40)))
            memory.append(data)
            model += data
        elif choice == 2:
            position = rng.randint(0, len(model))
            start = max(start, position)
            memory.release(position)
        elif rng.random() < 0.1:
            start = len(model)
            memory.clear()
        assert (memory.start, memory.end) == (start, len(model))
        assert everything(memory) == model[start:]
        assert len(memory._positions) == len(memory._pieces)
        assert sum(map(len, memory._pieces)) <= len(model) - start + 40


def test_released_memory_is_free() -> None:
    memory = Memory()
    for _ in range(100):
        memory.append(bytes(300_000))
        memory.release(memory.end - 1)
    assert sum(map(len, memory._pieces)) == 300_000
