"""docs/security.rst is true as far as this: each test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "security.rst").read_text("utf-8")
NAMED = re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", TABLE)


def names_in(path: Path) -> set[str]:
    """The names of a file's tests."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in nodes if isinstance(node, functions)}


def test_there_are_enough_rows_and_each_names_a_test() -> None:
    rows = re.split(r"^   \* - ", TABLE, flags=re.MULTILINE)[1:]
    rows = [row for row in rows if not row.startswith("Attack or bad input")]
    assert len(rows) >= 60
    for row in rows:
        assert "``tests/" in row, row


def test_every_test_that_is_named_exists() -> None:
    missing = [f"{path}::{name}" for path, name in NAMED if name not in names_in(ROOT / path)]
    assert missing == []


def test_every_test_of_this_directory_is_named() -> None:
    """What is shown is also told."""
    named = {name for _, name in NAMED}
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.name not in ("test_table.py", "test_supply.py"):
            untold = {name for name in names_in(path) if name.startswith("test_")} - named
            assert untold <= SELF_TESTS, path.name


#: Those that show that the others are about what they say.
SELF_TESTS = {
    "test_the_kernel_goes_on_after_all_that",
    "test_the_token_opens_and_the_agent_proves_itself",
    "test_the_false_agent_is_believed_when_it_does_not_lie",
    "test_a_good_file_is_read",
    "test_every_setting_of_sshpyk_1_25_is_known",
}
