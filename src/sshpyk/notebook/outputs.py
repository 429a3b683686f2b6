"""What a kernel publishes → the outputs of cells.

Messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html; outputs:
https://nbformat.readthedocs.io/en/latest/format_description.html.
"""

from __future__ import annotations

from typing import Any

#: A code cell, or an output: JSON of nbformat 4.
Cell = dict[str, Any]
Output = dict[str, Any]


class Filler:
    """Puts a kernel's messages into the cells that asked for them. No output comes out changed
    where it was fed in other pieces: what was filled in part can be filled on."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}  # by the request's msg_id
        self._displays: dict[str, list[Output]] = {}  # by display_id
        self._clears: set[str] = set()  # requests whose next output takes the place of those before

    def begin(self, request: str, cell: Cell) -> None:
        """The request with this msg_id runs the code of `cell`."""
        self._cells[request] = cell
        cell.setdefault("outputs", [])

    def take(self, request: str, kind: str, content: dict[str, Any]) -> bool:
        """A message of msg_type `kind` whose parent is `request`; whether it has changed a cell."""
        if kind == "update_display_data":
            return self._update(content)  # of any cell
        cell = self._cells.get(request)
        if cell is None:
            return False
        if kind == "execute_input":
            cell["execution_count"] = content.get("execution_count")
            return True
        if kind == "clear_output":
            self._clears.add(request)
            if not content.get("wait"):
                self._clear(request, cell)
            return True
        if kind == "stream":
            self._clear(request, cell)
            self._add_text(cell["outputs"], content)
            return True
        output = output_of(kind, content)
        if output is None:
            return False
        self._clear(request, cell)
        cell["outputs"].append(output)
        display = _display_id(content)
        if display:
            self._update(content)
            self._displays.setdefault(display, []).append(output)
        return True

    def _clear(self, request: str, cell: Cell) -> None:
        if request in self._clears:
            self._clears.remove(request)
            cell["outputs"].clear()

    def _add_text(self, outputs: list[Output], content: dict[str, Any]) -> None:
        name, text = str(content.get("name") or "stdout"), str(content.get("text") or "")
        last = outputs[-1] if outputs else {}
        if last.get("output_type") == "stream" and last.get("name") == name:
            last["text"] = joined(last.get("text")) + text
        else:
            outputs.append({"output_type": "stream", "name": name, "text": text})

    def _update(self, content: dict[str, Any]) -> bool:
        shown = self._displays.get(_display_id(content), [])  # the same display, shown elsewhere
        for output in shown:
            output["data"] = _object(content.get("data"))
            output["metadata"] = _object(content.get("metadata"))
        return bool(shown)


def output_of(kind: str, content: dict[str, Any]) -> Output | None:
    """The output that a message of msg_type `kind` makes by itself; None where it makes none."""
    if kind == "error":
        traceback = content.get("traceback")
        return {
            "output_type": "error",
            "ename": str(content.get("ename") or ""),
            "evalue": str(content.get("evalue") or ""),
            "traceback": list(map(str, traceback if isinstance(traceback, list) else [])),
        }
    if kind not in ("display_data", "execute_result"):
        return None
    output: Output = {
        "output_type": kind,
        "data": _object(content.get("data")),
        "metadata": _object(content.get("metadata")),
    }
    if kind == "execute_result":
        output["execution_count"] = content.get("execution_count")
    return output


def find_cell(cells: list[Cell], code: str, taken: set[int]) -> Cell | None:
    """The cell with this text: of several alike each in its turn, by the id() of those `taken`."""
    alike = [cell for cell in cells if joined(cell.get("source")).strip() == code.strip()]
    return next((cell for cell in alike if id(cell) not in taken), alike[-1] if alike else None)


def move(executed: list[Cell], cells: list[Cell]) -> list[str]:
    """Put the outputs of `executed` cells into those of `cells` that have their text: the codes
    without a cell."""
    homeless = []
    taken: set[int] = set()
    for done in executed:
        code = joined(done.get("source"))
        cell = find_cell(cells, code, taken)
        if cell is None:
            homeless.append(code)
            continue
        taken.add(id(cell))
        cell["outputs"], cell["execution_count"] = done["outputs"], done["execution_count"]
    return homeless


def joined(text: Any) -> str:
    """A text of a notebook, which may be a list of its lines."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text or "")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _display_id(content: dict[str, Any]) -> str:
    return str(_object(content.get("transient")).get("display_id") or "")
