"""JSON as the module `json` reads and writes it, without importing `json`.

That module imports `re` and `enum`, which takes 10 of the 50 ms of a launch until the kernel's
process is there, and 1 MB of memory in each agent. This does what `json` does, with the same two
functions of its C part. `json` itself is used where these are missing or have changed, or where
they find a fault.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class _Context:
    """The settings that `json.JSONDecoder` gives the scanner."""

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
    except Exception:  # `json` finds the same fault, or does not have it
        pass
    import json

    return json.loads(text, parse_constant=parse_constant)


def dumps(value: Any) -> str:
    """`value` in JSON, all ASCII. Raises TypeError where JSON has no such value."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        words: Any = (None, None, encode_basestring_ascii, None, ": ", ", ", False, False, True)
        encode = make_encoder(*words)
        return "".join(encode(value, 0))
    except Exception:  # the same
        import json

        return json.dumps(value)
