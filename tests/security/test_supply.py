"""The oldest versions of what we depend on: pyproject.toml and the second environment agree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_oldest_versions_are_those_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    declared = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert declared is not None
    lower = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', declared.group(1)))
    pinned = dict(
        re.findall(
            r"^([\w-]+)==([\d.]+)$", (Path(__file__).parent / "oldest.txt").read_text(), re.M
        )
    )
    assert lower.keys() == pinned.keys()
    for name, version in lower.items():
        assert (pinned[name] + ".").startswith(version + "."), name
    assert "oldest.txt" in (ROOT / ".ci" / "run").read_text("utf-8")
