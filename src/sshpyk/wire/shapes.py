"""What JSON from the other side must look like, and the one way to look whether it does.

A shape is one of
- a type, or a tuple of types: the value is of one of these (a bool is no int here);
- a dictionary: an object that has these keys, each of its shape; a key that ends in "?" may be
  missing or null; under "*" is the shape of all other keys, which otherwise don't matter;
- a list of one shape: a list of such values;
- a function: it returns what is wrong with the value, as "is no ...", or an empty text.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MISSING = object()

_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "yes or no",
    dict: "object",
    list: "list",
    type(None): "null",
}


def fault(value: Any, shape: Any, name: str) -> str:
    """What is wrong with `value`, which is called `name`; empty where it has the `shape`."""
    if isinstance(shape, dict):
        return _fault_of_object(value, shape, name)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{name} is no list"
        faults = (fault(item, shape[0], f"{name}[{n}]") for n, item in enumerate(value))
        return next(filter(None, faults), "")
    if not isinstance(shape, (type, tuple)):
        said = shape(value)
        return f"{name} {said}" if said else ""
    types = shape if isinstance(shape, tuple) else (shape,)
    if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
        return ""
    return f"{name} is no " + " or ".join(_NAMES.get(one, one.__name__) for one in types)


def _fault_of_object(value: Any, shape: Any, name: str) -> str:
    if not isinstance(value, dict):
        return f"{name} is no object"
    for key, part in shape.items():
        if key == "*":
            continue
        bare = key.rstrip("?")
        found = value.get(bare, _MISSING)
        if key != bare and (found is _MISSING or found is None):
            continue
        if found is _MISSING:
            return f"{name} has no {bare}"
        said = fault(found, part, f"{name}.{bare}")
        if said:
            return said
    if "*" in shape:
        for key, found in value.items():
            if key not in shape and key + "?" not in shape:
                said = fault(found, shape["*"], f"{name}.{key[:40]}")
                if said:
                    return said
    return ""
