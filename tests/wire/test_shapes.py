"""The one way to look whether JSON has its shape."""

from __future__ import annotations

from typing import Any

import pytest

from sshpyk.wire.shapes import fault


def few(value: object) -> str:
    return "" if isinstance(value, list) and len(value) < 3 else "is no short list"


SHAPE: dict[str, Any] = {
    "a": [{"b": (str, type(None))}],
    "c": int,
    "d?": bool,
    "e?": {"*": str, "n": int},
    "f?": few,
}
GOOD: list[dict[str, Any]] = [
    {"a": [{"b": None}, {"b": "x", "more": 1}], "c": 1},
    {"a": [], "c": -1, "d": None, "e": None, "f": None},
    {"a": [], "c": 1, "d": True, "e": {"n": 1, "x": "y"}, "f": [1, 2], "g": 3.5},
]
BAD: list[tuple[Any, str]] = [
    (None, "it is no object"),
    ([], "it is no object"),
    ({"c": 1}, "it has no a"),
    ({"a": {}, "c": 1}, "it.a is no list"),
    ({"a": [{"b": 1}], "c": 1}, "it.a[0].b is no text or null"),
    ({"a": [{"b": ""}, {}], "c": 1}, "it.a[1] has no b"),
    ({"a": [], "c": "1"}, "it.c is no whole number"),
    ({"a": [], "c": True}, "it.c is no whole number"),
    ({"a": [], "c": None}, "it.c is no whole number"),
    ({"a": [], "c": 1, "d": 1}, "it.d is no yes or no"),
    ({"a": [], "c": 1, "e": {"n": 1, "x": 2}}, "it.e.x is no text"),
    ({"a": [], "c": 1, "e": {"x": "y"}}, "it.e has no n"),
    ({"a": [], "c": 1, "f": [1, 2, 3]}, "it.f is no short list"),
]


@pytest.mark.parametrize("value", GOOD, ids=repr)
def test_what_has_the_shape(value: dict[str, Any]) -> None:
    assert fault(value, SHAPE, "it") == ""


@pytest.mark.parametrize(("value", "said"), BAD, ids=lambda part: str(part)[:40])
def test_what_has_not(value: Any, said: str) -> None:
    assert fault(value, SHAPE, "it") == said
