"""Which outputs go into which cells of a notebook, and which are there already."""

from __future__ import annotations

from typing import Any

from sshpyk.cli.missed import METADATA, Line, collect


def line(at: float, request: str, kind: str, *, again: bool = False, **content: Any) -> Line:
    """A line of the agent's file, as `missed.Reader` gives it."""
    header = {"msg_type": kind, "msg_id": f"{request}-{at}"}
    return {
        "at": at,
        "again": again,
        "header": header,
        "parent": {"msg_id": request},
        "content": content,
    }


def printed(at: float, request: str) -> Line:
    return line(at, request, "stream", name="stdout", text=f"{at:g} ")


def notebook(*texts: str, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Cells `a`, `b` and so on, which have printed that."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "source": chr(ord("a") + number),
            "metadata": {},
            "execution_count": None,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": text}] if text else [],
        }
        for number, text in enumerate(texts)
    ]
    return {"metadata": {METADATA: known} if known else {}, "cells": cells}


def text(notebook: dict[str, Any], cell: int) -> str:
    return "".join(output["text"] for output in notebook["cells"][cell]["outputs"])


LINES = [
    {"at": 1.0, "mark": "away"},
    line(0.5, "A", "execute_input", again=True, code="a", execution_count=1),
    printed(2, "A"),
    printed(3, "A"),
    line(4, "B", "execute_input", code="b", execution_count=2),
    printed(5, "B"),
    line(6, "C", "execute_input", code="gone", execution_count=3),
    printed(7, "C"),
]


def test_a_cell_that_ran_on_is_filled_and_one_that_began_anew_is_emptied_first() -> None:
    made = notebook("0 1 ", "of an earlier run")
    found = collect(made, LINES, "k")
    assert (text(made, 0), text(made, 1)) == ("0 1 2 3 ", "5 ")
    assert [cell["execution_count"] for cell in made["cells"]] == [1, 2]
    assert (found.count, found.homeless) == (3, ["gone"])
    assert found.requests == {"A": made["cells"][0], "B": made["cells"][1]}
    again = collect(made, LINES, "k")
    assert (again.count, text(made, 0), text(made, 1)) == (0, "0 1 2 3 ", "5 ")
    assert again.homeless == []


def test_what_the_page_has_shown_does_not_come_twice() -> None:
    made = notebook("0 1 2 ", "")
    assert collect(made, LINES, "k", after_message="A-2").count == 2
    assert (text(made, 0), text(made, 1)) == ("0 1 2 3 ", "5 ")
    # A page that collected, then went on, and was saved remembers by time, and by the last message.
    made = notebook("0 1 2 3 ", "", known={"k": 2.5, "last": "A-3"})
    assert collect(made, LINES, "k").count == 1
    assert (text(made, 0), text(made, 1)) == ("0 1 2 3 ", "5 ")
