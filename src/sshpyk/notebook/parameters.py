"""Parameters of a notebook, as papermill has them (https://papermill.readthedocs.io): assignments
in a cell tagged `injected-parameters`, behind the one tagged `parameters`, which has the defaults.
"""

from __future__ import annotations

import ast
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import SettingsError
from .outputs import Cell, joined

DEFAULTS, INJECTED = "parameters", "injected-parameters"

Value = Any  # None, bool, int, float, str, and lists and dicts of these


def typed(text: str) -> Value:
    """The value that `text` is on a command line: papermill's rules."""
    words = {"None": None, "True": True, "False": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def tags(cell: Cell) -> list[str]:
    """The tags of a cell."""
    found = cell.get("metadata", {}).get("tags")
    return [str(tag) for tag in found] if isinstance(found, list) else []


def inject(notebook: dict[str, Any], values: Mapping[str, Value], language: str) -> list[str]:
    """Put `values` into a notebook, which is changed: into the injected cell there is, else behind
    the cell with the defaults, else in front of all. What a person should know of it.

    Raises `SettingsError` where a name or a value has no form in `language`.
    """
    cells: list[Cell] = notebook["cells"]
    cell: Cell = {
        "cell_type": "code",
        "metadata": {"tags": [INJECTED]},
        "source": assignments(values, language),
        "outputs": [],
        "execution_count": None,
    }
    if (notebook.get("nbformat_minor") or 0) >= 5:
        cell["id"] = uuid.uuid4().hex[:8]
    places = {tag: n for n, one in reversed(list(enumerate(cells))) for tag in tags(one)}
    if INJECTED in places:
        cells[places[INJECTED]] = cell
    else:
        cells.insert(places[DEFAULTS] + 1 if DEFAULTS in places else 0, cell)
    if DEFAULTS not in places:
        return [f"No cell has the tag `{DEFAULTS}`, so the values stand in front of all cells."]
    known = _names(joined(cells[places[DEFAULTS]].get("source")), language)
    strange = [name for name in values if known is not None and name not in known]
    return [f"The cell with the tag `{DEFAULTS}` has no {name}." for name in strange]


def _names(source: str, language: str) -> set[str] | None:
    """The names that a cell of defaults assigns; None where that can't be told."""
    if language != "python":
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None  # magics
    stores = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {node.id for node in stores if isinstance(node.ctx, ast.Store)}


def assignments(values: Mapping[str, Value], language: str) -> str:
    """A cell's source that gives each name its value. Raises `SettingsError`."""
    spelled = LANGUAGES.get(language.lower())
    if spelled is None:
        known = ", ".join(sorted({"python", "r", "julia", "bash"}))
        raise SettingsError(
            text=f"Parameters can't be given to a notebook in {language or 'no known language'}, "
            f"but in {known}."
        )
    sign = "=" if language.lower() != "r" else "<-"
    around = " " if language.lower() not in SHELLS else ""
    lines = ["# Parameters"]
    for name, value in values.items():
        if not re.fullmatch(r"[^\W\d]\w*", name):
            raise SettingsError(text=f"{name!r} can't be the name of a parameter.")
        lines.append(f"{name}{around}{sign}{around}{spelled(value)}")
    return "\n".join(lines)


def _python(value: Value) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_python, value))}]"
    if isinstance(value, Mapping):
        items = (f"{_python(str(key))}: {_python(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    raise _no_value(value)


def _r(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "TRUE", False: "FALSE"}[value]
    if isinstance(value, (int, float)):
        return {"inf": "Inf", "-inf": "-Inf", "nan": "NaN"}.get(str(value), repr(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return f"list({', '.join(map(_r, value))})"
    if isinstance(value, Mapping):
        items = (f"{_r(str(key))} = {_r(item)}" for key, item in value.items())
        return f"list({', '.join(items)})"
    raise _no_value(value)


def _julia(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return {"inf": "Inf", "-inf": "-Inf", "nan": "NaN"}.get(str(value), repr(value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("$", "\\$")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_julia, value))}]"
    if isinstance(value, Mapping):
        items = (f"{_julia(str(key))} => {_julia(item)}" for key, item in value.items())
        return f"Dict({', '.join(items)})"
    raise _no_value(value)


def _bash(value: Value) -> str:
    if value is None:
        return "''"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "'\\''") + "'"
    raise _no_value(value)


def _no_value(value: Value) -> SettingsError:
    return SettingsError(text=f"{type(value).__name__} can't be the value of a parameter.")


SHELLS = ("bash", "sh")

LANGUAGES: dict[str, Callable[[Value], str]] = {
    "python": _python,
    "r": _r,
    "julia": _julia,
    **dict.fromkeys(SHELLS, _bash),
}
