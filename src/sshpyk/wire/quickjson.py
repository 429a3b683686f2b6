"""JSON as `json` has it, without importing that: it brings `re` and `enum`, and takes 10 of the
50 ms that a launch takes until the kernel's process is there, and of each agent 1 MB.

It does what `json` itself does with the same two functions of its C part; where these are missing,
or have changed, or find a fault, `json` has the word.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class _Context:
    """What `json.JSONDecoder` tells the scanner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int

    def __init__(self, parse_constant: Callable[[str], Any]) -> None:
        self.parse_constant = parse_constant


def loads(text: str, parse_constant: Callable[[str], Any] = float) -> Any:
    """The value that `text` is; NaN and the infinities in it are what `parse_constant` says.

    Raises ValueError or RecursionError where it is none.
    """
    try:
        from _json import make_scanner

        bare = text.strip(" \t\n\r")
        context: Any = _Context(parse_constant)
        value, end = make_scanner(context)(bare, 0)
        if end == len(bare):
            return value
    except Exception:  # whatever it is, `json` finds it too, or does better
        pass
    import json

    return json.loads(text, parse_constant=parse_constant)


def dumps(value: Any) -> str:
    """`value` in JSON, all ASCII. Raises TypeError where it can't be said."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        words: Any = (None, None, encode_basestring_ascii, None, ": ", ", ", False, False, True)
        encode = make_encoder(*words)
        return "".join(encode(value, 0))
    except Exception:  # the same
        import json

        return json.dumps(value)
