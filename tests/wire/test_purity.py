"""What may be in the wire core: no I/O, and nothing of the rest."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sshpyk

ROOT = Path(sshpyk.__file__).parent
WIRE = sorted((ROOT / "wire").glob("*.py"))

#: All that the wire core imports, so that a new import is a decision.
ALLOWED = {"__future__", "bisect", "collections", "heapq", "json", "_json", "struct", "typing"}


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.name)
def test_the_wire_core_has_no_io(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("open", "print", "input", "__import__", "exec", "eval")
    assert imported <= ALLOWED


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.name)
def test_the_wire_core_knows_only_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level > 1)
