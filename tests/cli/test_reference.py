"""docs/reference.rst says what the declarations say."""

from __future__ import annotations

from pathlib import Path

from sshpyk.cli import COMMANDS
from sshpyk.cli.options import declared
from sshpyk.cli.reference import make

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.rst"


def test_the_reference_is_made_from_the_declarations() -> None:
    assert REFERENCE.read_text("utf-8") == make(), (
        "make it anew: python -m sshpyk.cli.reference > docs/reference.rst"
    )


def test_it_names_everything() -> None:
    text = make()
    for command in COMMANDS:
        assert f"\nsshpyk {command}\n" in text
    for option in declared():
        assert f"\n``{option.name}`` (``{option.flag}" in text
