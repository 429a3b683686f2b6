"""Parameters, as papermill has them."""

from __future__ import annotations

import math
import shutil
import subprocess
from typing import Any

import pytest

from sshpyk.errors import SettingsError
from sshpyk.notebook.parameters import assignments, inject, typed

VALUES: dict[str, Any] = {
    "none": None,
    "yes": True,
    "whole": -7,
    "real": 1.5e300,
    "text": 'it\'s "ü" \\n $HOME `x` \n😀',
    "inf": math.inf,
    "row": [1, "two", [False]],
    "named": {"a b": {"c": None}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None),
        ("True", True),
        ("true", "true"),
        ("12", 12),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("inf", math.inf),
        ("", ""),
        ("a word", "a word"),
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_python_reads_the_same_values() -> None:
    found: dict[str, Any] = {}
    exec(assignments(VALUES, "python"), found)
    assert {name: found[name] for name in VALUES} == VALUES


def test_bash_reads_the_same_values() -> None:
    values = {name: VALUES[name] for name in ("whole", "text", "yes")}
    script = assignments(values, "bash") + '\nprintf "%s|%s|%s" "$whole" "$text" "$yes"'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == f"-7|{VALUES['text']}|true"


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="there is no R here")
def test_r_reads_the_same_values() -> None:
    script = assignments(VALUES, "R") + "\ncat(is.null(none), yes, whole, inf, row[[2]], text)"
    said = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    assert said.stdout == f"TRUE TRUE -7 Inf two {VALUES['text']}"


def test_what_has_no_form() -> None:
    for values, language in (
        ({"a-b": 1}, "python"),
        ({"": 1}, "python"),
        ({"a": object()}, "python"),
        ({"a": [1]}, "bash"),
        ({"a": 1}, "cobol"),
    ):
        with pytest.raises(SettingsError):
            assignments(values, language)


def test_where_they_go() -> None:
    def cell(source: str, *tags: str) -> dict[str, Any]:
        return {"cell_type": "code", "source": [source], "metadata": {"tags": list(tags)}}

    def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}

    with_defaults = notebook(cell("1"), cell("a = b = 1", "parameters"), cell("2"))
    assert inject(with_defaults, {"a": 2}, "python") == []
    assert with_defaults["cells"][2]["source"] == "# Parameters\na = 2"
    assert len(with_defaults["cells"]) == 4
    (said,) = inject(with_defaults, {"c": 3}, "python")
    assert "has no c" in said
    assert with_defaults["cells"][2]["source"] == "# Parameters\nc = 3"
    assert len(with_defaults["cells"]) == 4  # replaced
    without = notebook(cell("1"))
    (said,) = inject(without, {"a": 1}, "python")
    assert "No cell has the tag `parameters`" in said
    assert [one["metadata"]["tags"] for one in without["cells"]] == [["injected-parameters"], []]
    assert without["cells"][0]["id"]
