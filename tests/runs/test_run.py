"""`sshpyk run`: notebooks and scripts that a host executes by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call, sshpyk
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

__all__ = ["sshpyk"]

pytestmark = pytest.mark.sshd


def write(path: Path, *sources: str, tags: dict[int, str] | None = None) -> Path:
    """Write a notebook of these cells; `tags` are those of cells by their place."""
    cells: list[dict[str, Any]] = []
    for number, source in enumerate(sources):
        tagged = {"tags": [tags[number]]} if tags and number in tags else {}
        cell = {"cell_type": "code", "metadata": tagged, "source": source, "outputs": []}
        cells.append({**cell, "execution_count": None})
    cells.insert(0, {"cell_type": "markdown", "metadata": {}, "source": "# text"})
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    path.write_text(json.dumps(notebook))
    return path


def outputs(path: Path) -> list[Any]:
    """What each code cell of a notebook has brought: its text, or the name of what it raised."""
    cells = json.loads(path.read_text())["cells"]
    return [
        [
            "".join(o.get("text", o.get("ename", ""))) or o["data"]["text/plain"]
            for o in c["outputs"]
        ]
        for c in cells
        if c["cell_type"] == "code"
    ]


def test_a_notebook(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    path = write(tmp_path / "a notebook.ipynb", "x = 6\nprint('one')", "x * 7")
    result = sshpyk("run", str(path), "--on", "remote")
    assert result.status == 0, result.err
    assert outputs(path) == [["one\n"], ["42"]]
