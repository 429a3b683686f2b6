"""The agent's files come in two parts, the second compiled where that is of use."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sshpyk
from sshpyk.transport import package
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import Server

pytestmark = pytest.mark.sshd

#: The files that are sent to hosts.
TRAVELS = [
    path
    for folder in ("wire", "common", "agent")
    for path in (Path(sshpyk.__file__).parent / folder).glob("*.py")
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each second part was compiled, in turn."""
    parts = []
    make = package.rest.__wrapped__  # without its cache, in which nothing false may stay

    def rest(*, compiled: bool) -> bytes:
        parts.append(compiled)
        return make(compiled=compiled)

    monkeypatch.setattr(package, "rest", rest)
    return parts


def test_a_host_with_our_python_gets_bytecode_from_the_second_launch_on(
    server: Server, sent: list[bool]
) -> None:
    write_spec("compiled", server)
    for _ in range(2):
        with started("compiled") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
    assert sent == [False, True]


def test_a_host_that_has_another_python_than_before_asks_for_sources(
    server: Server, sent: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec("changed", server)
    with started("changed"):
        pass
    monkeypatch.setattr(package, "BYTECODE", "cpython-30 0000")
    with started("changed") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert sent == [False, True, False]


def test_the_first_part_goes_out_at_once() -> None:
    """Ten packets of 1,460 bytes, the request among them, leave before one is acknowledged."""
    assert len(package.first()) < 12_500


@pytest.mark.parametrize(
    "path", sorted(TRAVELS), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_what_travels_is_the_same_program(path: Path) -> None:
    source = path.read_text("utf-8")
    sent = package.without_words(source)
    assert ast.dump(ast.parse(sent)) == ast.dump(_without_docstrings(ast.parse(source)))
    assert sent.count("\n") == source.count("\n"), "tracebacks tell lines"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Expr(ast.Constant(""))
    return tree
