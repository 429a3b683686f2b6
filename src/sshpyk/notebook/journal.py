"""A run's journal (`sshpyk.agent.run`) → the executed notebook, and how far it is. No I/O."""

from __future__ import annotations

import json
from typing import Any

from .form import Notebook, fault
from .outputs import Cell, Filler, joined


class Replay:
    """Takes in a journal, piece by piece, from its first byte on.

    `offset` is how many bytes it has; `notebook` is None until its first line is there. Places of
    cells are counted from 0, `number_of` has them as people count.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.notebook: Notebook | None = None
        self.kernel = ""  # the id of the kernel
        self.name = ""  # the notebook's
        self.cells: list[int] = []  # those that are to run
        self.ran = 0  # how many have
        self.at: int | None = None  # the one that runs
        self.status = ""  # of the run, once it has ended: see `sshpyk.agent.run`
        self.failed_at: int | None = None  # the cell that raised
        self.error: dict[str, Any] = {}  # what it raised: "ename", "evalue", "traceback"
        self.text = ""  # what is said of a run that failed
        self.texts: list[tuple[str, str]] = []  # "stdout" or "stderr", and what was written there
        self._filler = Filler()
        self._rest = bytearray()  # of a line whose end is yet to come

    def feed(self, data: bytes) -> bool:
        """Take a piece in; whether the notebook has changed."""
        self.offset += len(data)
        if b"\n" not in data:
            self._rest += data
            return False
        *whole, rest = data.split(b"\n")
        changed = False
        for text in whole:
            changed = self._take(bytes(self._rest + text)) or changed
            self._rest.clear()
        self._rest += rest
        return changed

    def number_of(self, cell: int) -> int:
        """Which of the cells that run this is, from 1."""
        return self.cells.index(cell) + 1 if cell in self.cells else 0

    def first_line_of(self, cell: int) -> str:
        """How its code begins."""
        notebook = self.notebook or {"cells": []}
        source = joined(notebook["cells"][cell].get("source"))
        return source.strip().partition("\n")[0][:60]

    def _take(self, text: bytes) -> bool:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(line, dict):
            return False
        mark = line.get("mark")
        if mark == "run":
            return self._begin(line)
        if self.notebook is None:
            return False
        if mark is None:
            return self._take_message(line)
        if mark == "cell":
            cell = self._cell(line)
            if cell is not None:
                self.at = line["cell"]
                self._filler.begin(str(line.get("request")), cell)
        elif mark == "ran":
            self.ran += 1
            self.at = None
        elif mark == "end":
            self.status = str(line.get("status"))
            self.text = str(line.get("text") or "")
            self.at = None
            if self.status == "error" and self._cell(line) is not None:
                self.failed_at = line["cell"]
                self.error = {"ename": line.get("ename"), "evalue": line.get("evalue")}
                self.error["traceback"] = self._traceback(line["cell"])
        return True

    def _begin(self, line: dict[str, Any]) -> bool:
        notebook, cells = line.get("notebook"), line.get("cells")
        if not isinstance(notebook, dict) or not isinstance(cells, list) or fault(notebook):
            return False
        count = len(notebook["cells"])
        if not all(type(cell) is int and 0 <= cell < count for cell in cells):
            return False
        self.notebook, self.cells = notebook, cells
        self.kernel, self.name = str(line.get("kernel")), str(line.get("name"))
        return True

    def _cell(self, line: dict[str, Any]) -> Cell | None:
        assert self.notebook is not None
        number = line.get("cell")
        if type(number) is not int or not 0 <= number < len(self.notebook["cells"]):
            return None
        cell: Cell = self.notebook["cells"][number]
        return cell

    def _take_message(self, line: dict[str, Any]) -> bool:
        header, parent, content = (line.get(name) for name in ("header", "parent", "content"))
        if not isinstance(header, dict) or not isinstance(parent, dict):
            return False
        if not isinstance(content, dict):
            return False
        kind = str(header.get("msg_type"))
        if kind == "stream":
            name = "stderr" if content.get("name") == "stderr" else "stdout"
            self.texts.append((name, str(content.get("text") or "")))
        return self._filler.take(str(parent.get("msg_id")), kind, content)

    def _traceback(self, cell: int) -> list[str]:
        assert self.notebook is not None
        outputs = self.notebook["cells"][cell].get("outputs", [])
        found = [output for output in outputs if output.get("output_type") == "error"]
        return list(found[-1]["traceback"]) if found else []
