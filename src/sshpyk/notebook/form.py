"""What a notebook of format 4 is, as far as it matters here."""

from __future__ import annotations

from typing import Any

Notebook = dict[str, Any]


def fault(notebook: Notebook) -> str:
    """What is wrong with a notebook of format 4, as far as it matters here; empty where nothing is.

    Its metadata and cells are made where they are missing, as JupyterLab does.
    """
    if not isinstance(notebook.setdefault("metadata", {}), dict):
        return "its metadata are no object"
    cells = notebook.setdefault("cells", [])
    if not isinstance(cells, list):
        return "its cells are no list"
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
            return f"cell {number} has no cell_type that there is"
        source = cell.get("source")
        lines = source if isinstance(source, list) else [source]
        if not all(isinstance(line, str) for line in lines):
            return f"cell {number} has no text as its source"
        if not isinstance(cell.setdefault("metadata", {}), dict):
            return f"the metadata of cell {number} are no object"
        if cell["cell_type"] == "code":
            outputs = cell.setdefault("outputs", [])
            if not isinstance(outputs, list) or not all(isinstance(o, dict) for o in outputs):
                return f"the outputs of cell {number} are no list of objects"
            cell.setdefault("execution_count", None)
    return ""
