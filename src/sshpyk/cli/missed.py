"""A kernel's output while nobody was attached: as text, and into the cells of a notebook.

The agent keeps it as lines of JSON (`sshpyk.agent.outputs`). No I/O here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..notebook.outputs import Cell, Filler, find_cell, joined

Line = dict[str, Any]

#: Bytes of a line; the agent keeps no longer message (`wire.zmtp.LARGEST`).
LONGEST_LINE = 33 * 1024 * 1024

#: Where a notebook says up to when a kernel's output is in it already.
METADATA = "sshpyk"


class Reader:
    """Reads the agent's file of outputs, piece by piece.

    What is no line of it, such as one that a full disk has cut, is left out. What came while the
    link was only away is left out too: it arrived by itself.
    """

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.size = 0  # bytes, of all pieces
        self._rest = bytearray()  # of a line whose end is yet to come
        self._away_from = 0  # where in `lines` the last absence begins

    def feed(self, data: bytes) -> None:
        """Take a piece in."""
        self.size += len(data)
        *whole, rest = data.split(b"\n")
        for text in whole:
            self._take(bytes(self._rest + text))
            self._rest.clear()
        if len(self._rest) < LONGEST_LINE:  # else it is no line of an agent's
            self._rest += rest

    def pop(self) -> list[Line]:
        """The lines so far, which are then forgotten: for those who show them as they come."""
        lines, self.lines = self.lines, []
        self._away_from = 0
        return lines

    def _take(self, text: bytes) -> None:
        line = _line(text)
        if line is None:
            return
        if line.get("mark") == "resumed":
            del self.lines[self._away_from :]
            return
        if line.get("mark") == "away":
            self._away_from = len(self.lines)
        self.lines.append(line)


def _line(text: bytes) -> Line | None:
    """What is used of a line of the file; None where it is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("at"), (int, float)):
        return None
    if line.get("mark"):
        return {"at": line["at"], "mark": line["mark"]}
    header, parent, content = (line.get(name) for name in ("header", "parent", "content"))
    if not (isinstance(header, dict) and isinstance(parent, dict) and isinstance(content, dict)):
        return None
    # The rest of the headers takes more memory than most outputs.
    return {
        "at": line["at"],
        "again": line.get("again") is True,
        "header": {"msg_type": header.get("msg_type"), "msg_id": header.get("msg_id")},
        "parent": {"msg_id": parent.get("msg_id")},
        "content": content,
    }


def since_left(lines: list[Line]) -> list[Line]:
    """Those since everybody left; none where somebody is there."""
    marks = [number for number, line in enumerate(lines) if "mark" in line]
    if not marks or lines[marks[-1]]["mark"] != "away":
        return []
    return lines[marks[-1] + 1 :]


def text_of(line: Line) -> str:
    """What a console would show of it."""
    content = line.get("content") or {}
    kind = (line.get("header") or {}).get("msg_type")
    if kind == "stream":
        return str(content.get("text", ""))
    if kind == "error":
        return "\n".join(map(str, content.get("traceback") or [content.get("evalue")])) + "\n"
    if kind == "execute_input":
        return f"\nIn [{content.get('execution_count')}]: {content.get('code', '')}\n"
    if kind in ("display_data", "execute_result", "update_display_data"):
        data = content.get("data") or {}
        text = joined(data.get("text/plain")) or f"<{', '.join(data)}>"
        head = f"Out[{content.get('execution_count')}]: " if kind == "execute_result" else ""
        return f"{head}{text}\n"
    return ""


def texts(lines: Iterable[Line]) -> Iterator[str]:
    """The text of lines that have one."""
    return (text for text in map(text_of, lines) if text)


@dataclass
class Collected:
    """How many outputs were collected, the codes that no cell has, and whose output goes where."""

    count: int
    homeless: list[str]
    requests: dict[str, Cell]  # by the msg_id of what ran the cell


def collect(
    notebook: dict[str, Any], lines: list[Line], kernel_id: str, *, after_message: str = ""
) -> Collected:
    """Put outputs into the cells whose code made them.

    A cell is found by its text, and the notebook remembers what it has, so that nothing comes
    twice; it has all up to the message `after_message`, if that is there. A cell that began to run
    meanwhile loses what it had. Changes `notebook`, JSON of nbformat 4.
    """
    known = notebook.setdefault("metadata", {}).setdefault(METADATA, {})
    after = float(known.get(kernel_id, 0.0))
    cells = [cell for cell in notebook.get("cells", []) if cell.get("cell_type") == "code"]
    filler = Filler()
    known_requests: set[str] = set()
    homeless: dict[str, str] = {}  # by the request, until something new of it is told
    told: dict[str, str] = {}
    requests: dict[str, Cell] = {}
    after_message = after_message or str(known.get("last", ""))
    ids = [str(line["header"]["msg_id"]) if "mark" not in line else "" for line in lines]
    old = ids.index(after_message) + 1 if after_message and after_message in ids else 0
    count = 0
    taken: set[int] = set()
    for number, line in enumerate(lines):
        if "mark" in line:
            continue
        is_new = number >= old and line["at"] > after
        request = str(line["parent"].get("msg_id"))
        kind, content = str(line["header"].get("msg_type")), line["content"]
        if kind == "execute_input":
            if request in known_requests:
                continue  # told again, because it went on when everybody left again
            known_requests.add(request)
            cell = find_cell(cells, str(content.get("code", "")), taken)
            if cell is None:
                homeless[request] = str(content.get("code", ""))
                if is_new:
                    told[request] = homeless[request]
                continue
            taken.add(id(cell))
            filler.begin(request, cell)
            requests[request] = cell
            if is_new and not line["again"]:
                cell["outputs"].clear()
            filler.take(request, kind, content)
        elif is_new and request in homeless:
            told[request] = homeless[request]
        elif is_new:
            count += filler.take(request, kind, content)
    if lines:
        known[kernel_id] = max(after, max(line["at"] for line in lines))
    return Collected(count, list(told.values()), requests)
