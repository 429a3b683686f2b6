"""JSON without `json` is the same JSON, faults included."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.wire.quickjson import dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_values(value: object) -> None:
    text = dumps(value)
    assert text == json.dumps(value)
    assert loads(text) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=1) + "\n") == value


@given(st.text() | st.text('[]{}",:0123456789.eE+-truefalsn \n\\u'))
def test_texts(text: str) -> None:
    assert outcome(loads, text) == outcome(json.loads, text)


def outcome(parse: Callable[[str], object], text: str) -> str:
    """What comes of a text, be it an error."""
    try:
        return repr(parse(text))
    except (ValueError, RecursionError) as error:
        return repr(error)


def test_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        dumps(object())
