"""No module of ours needs itself: imports inside functions and those for types alone count too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sshpyk

ROOT = Path(sshpyk.__file__).parent


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imports(module: str, path: Path) -> set[str]:
    """The modules of ours that `module` imports, anywhere in it."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            # What is named may be a module of its own, or a name in the package.
            for alias in node.names:
                name = f"{base}.{alias.name}"
                found.add(name if name in MODULES else base)
    return {name for name in found if name in MODULES and name != module}


def circles(graph: dict[str, set[str]]) -> list[frozenset[str]]:
    """The groups of modules of which each reaches all others."""
    reach = {module: set(names) for module, names in graph.items()}
    for middle in graph:
        for names in reach.values():
            if middle in names:
                names |= reach[middle]
    groups = {frozenset(other for other in reach[m] if m in reach[other]) for m in graph}
    return [group for group in groups if group]


def test_finds_a_circle() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": {"e"}}
    assert sorted(map(sorted, circles(graph))) == [["b", "c"], ["e"]]


def test_sees_all_kinds_of_imports() -> None:
    module = "sshpyk.agent.launch"
    found = imports(module, MODULES[module])
    assert {"sshpyk.agent.records", "sshpyk.agent.serve", "sshpyk.agent.boot"} <= found


def test_no_circles() -> None:
    graph = {module: imports(module, path) for module, path in MODULES.items()}
    assert [sorted(group) for group in circles(graph)] == []


@pytest.mark.parametrize("module", sorted(name for name in MODULES if ".agent." in name))
def test_only_the_launch_knows_the_agent(module: str) -> None:
    users = {"sshpyk.agent.launch"}
    assert "sshpyk.agent.serve" not in imports(module, MODULES[module]) or module in users
