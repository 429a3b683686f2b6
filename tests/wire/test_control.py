"""The control messages."""

from __future__ import annotations

import json
import time
from types import NoneType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.wire.control import MAX_MESSAGE, SHAPES, MessageReader, encode
from sshpyk.wire.frames import ProtocolError

EXAMPLES: dict[str, dict[str, Any]] = {
    "start": {"number": 1, "kernel": {"name": "python3", "env": {"A": "ü\n\0"}}},
    "signal": {"number": 2, "signum": 2},
    "state": {"number": 3},
    "settings": {"number": 4, "persistent": True, "lease": 0.5},
    "attached": {"number": 12},
    "watch": {"number": 8},
    "urls": {"number": 9},
    "memory_wanted": {"number": 12},
    "seeing": {"number": 10, "seeing": True, "resumed": False},
    "seen": {"number": 11, "message": "id"},
    "leave": {"number": 5},
    "end": {"number": 6},
    "done": {"number": 7, "result": {}},
    "failed": {"number": 8, "error": {"kind": "no kernel"}},
    "bound": {"pid": 1234},
    "exited": {"pid": 1234, "code": None, "signum": 9, "stderr": "a\nb", "note": "\ud800"},
    "activity": {"busy": None, "since": 1.5},
    "url": {"url": "http://localhost:8787/status"},
    "memory": {"short": {"used": 91, "limit": 100, "machine": False}},
    "notice": {"text": "“full”"},
}


def test_there_is_an_example_of_each() -> None:
    assert EXAMPLES.keys() == SHAPES.keys()


@pytest.mark.parametrize("type", SHAPES)
def test_round_trip(type: str) -> None:
    assert MessageReader().feed(encode(type, **EXAMPLES[type])) == [
        {"type": type, **EXAMPLES[type]}
    ]


def test_split_anywhere() -> None:
    data = b"".join(encode(type, **fields) for type, fields in EXAMPLES.items())
    expected = [{"type": type, **fields} for type, fields in EXAMPLES.items()]
    for split in range(len(data) + 1):
        reader = MessageReader()
        assert reader.feed(data[:split]) + reader.feed(data[split:]) == expected
    reader = MessageReader()
    assert [m for byte in data for m in reader.feed(bytes([byte]))] == expected


WRONG: dict[type[object], list[Any]] = {
    str: [1, None, True, [], {}],
    int: ["1", 1.5, None, True, [], {}],
    float: ["1", None, True, [], {}],
    bool: [0, 1, "true", None],
    dict: [[], "{}", None, True],
}


@pytest.mark.parametrize("type", SHAPES)
def test_wrong_shapes(type: str) -> None:
    for field, shape in SHAPES[type].items():
        if field.endswith("?"):
            refuse({"type": type, **EXAMPLES[type], field.rstrip("?"): "nothing of the kind"})
            continue
        types = shape if isinstance(shape, tuple) else (shape,)
        missing = {"type": type, **EXAMPLES[type]}
        del missing[field]
        refuse(missing)
        kind = float if float in types else types[0]
        for value in WRONG.get(kind, [*WRONG[str], "nothing of the kind"]):
            if value is not None or NoneType not in types:
                refuse({"type": type, **EXAMPLES[type], field: value})


def refuse(message: object) -> None:
    with pytest.raises(ProtocolError):
        MessageReader().feed(json.dumps(message).encode() + b"\n")


@pytest.mark.parametrize(
    "message",
    [None, 1, "start", [], {}, [{"type": "state"}], {"type": None}, {"type": []}, {"type": "x"}],
)
def test_other_things_than_messages(message: object) -> None:
    refuse(message)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"\x00" * 10,
        b"[" * 100_000,
        b'{"type":' * 100_000,
        b'{"type":"state","number":' + b"1" * 10_000 + b".5}",
        b'{"type":"state","number":1}x',
        b'{"type":"state","number":NaN}',
    ],
    ids=lambda line: repr(line[:20]),
)
def test_lines_that_are_no_message(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        MessageReader().feed(line + b"\n")


def test_unknown_fields_are_let_through() -> None:
    """A newer peer may say more."""
    (message,) = MessageReader().feed(b'{"type":"state","number":1,"more":2}\n')
    assert message["number"] == 1


def test_huge_messages() -> None:
    fields = {"text": "x" * (MAX_MESSAGE - 100)}
    data = encode("notice", **fields)
    for _ in range(2):  # many that are within the limit may come together
        assert MessageReader().feed(data + data) == [{"type": "notice", **fields}] * 2
    reader = MessageReader()
    with pytest.raises(ProtocolError):  # noqa: PT012
        for _ in range(100):
            reader.feed(b"x" * 65536)
            assert len(reader._buffer) <= MAX_MESSAGE
    with pytest.raises(ProtocolError):
        MessageReader().feed(encode("notice", text="x" * MAX_MESSAGE))


def test_a_large_message_in_small_pieces_is_quick() -> None:
    data = encode("notice", text="x" * (MAX_MESSAGE - 100))
    reader = MessageReader()
    began = time.perf_counter()
    got = [m for n in range(0, len(data), 100) for m in reader.feed(data[n : n + 100])]
    assert len(got) == 1
    assert time.perf_counter() - began < 5


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes(pieces: list[bytes]) -> None:
    reader = MessageReader()
    try:
        for piece in pieces:
            assert reader.feed(piece.replace(b"\n", b"")) == []
        reader.feed(b"\n")
    except ProtocolError:
        pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=3,
)


@given(
    st.sampled_from(list(SHAPES)),
    st.dictionaries(st.sampled_from(["number", "kernel", "signum", "pid", "code", "lease"]), JSON),
)
def test_any_fields(type: str, fields: dict[str, Any]) -> None:
    """Whatever is let through can be used: every field that is listed is there, but those that
    need not be."""
    try:
        (message,) = MessageReader().feed(encode(type, **fields))
    except ProtocolError:
        return
    assert {name for name in SHAPES[type] if not name.endswith("?")} <= message.keys()
