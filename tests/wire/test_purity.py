"""What may be in the files that travel: no I/O in the wire core, nothing newer than Python 3.8."""

from __future__ import annotations

import ast
import subprocess
import sys
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


@pytest.mark.parametrize("package", ["wire", "common", "agent"])
def test_runs_on_python_3_8(package: str) -> None:
    pytest.importorskip("vermin", reason="vermin is not installed here")
    options = ("-t=3.8-", "--no-tips", "--violations", "--no-parse-comments")
    result = subprocess.run(
        [sys.executable, "-c", "import vermin; vermin.main()", *options, str(ROOT / package)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
