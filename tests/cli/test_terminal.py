"""What commands write: one row a line for programs, columns for people, and nobody's markup."""

from __future__ import annotations

import re
import sys

import pytest

from sshpyk.cli.terminal import BAD, Terminal, one_line
from sshpyk.errors import SettingsError
from tests.lab import terminal as lab

HEADS = ("ID", "NAME", "HOST", "LEASE", "STATE")

#: A name as a host may choose one: markup, an end of a line, what a terminal would obey.
EVIL = "[bold]x[/]\nsecond \x1b[2J:smile:"

ROWS = [("1", EVIL, "host" * 100, "", "attached since 12:00"), ("2", "n", "h", "", "lost")]


def test_where_no_terminal_is_a_row_is_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.table(HEADS, ROWS)
    terminal.table(HEADS, ROWS[1:], beside=True)
    terminal.marked(BAD, "word " * 200 + "end", indent=2, label="Label")
    terminal.marked("", EVIL.replace("\n", ""), indent=2, label="Other")
    out, err = capfd.readouterr()
    head, first, second, *marked = out.splitlines()
    assert head.split() == list(HEADS)
    assert first.startswith("1   [bold]x[/] second \ufffd[2J:smile:  hosthost")
    assert first.endswith("host         attached since 12:00")
    assert second.split() == ["2", "n", "h", "lost"]
    starts = [line.index(word) for line, word in ((head, "STATE"), (first, "att"), (second, "lo"))]
    assert len(set(starts)) == 1, "columns are columns"
    assert marked[0] == "  (x) Label: " + "word " * 200 + "end"
    assert marked[1] == "  Other: [bold]x[/]second \ufffd[2J:smile:"
    assert not any(line.endswith(" ") for line in out.splitlines())
    assert err.split() == ["ID", "NAME", "HOST", "LEASE", "STATE", "2", "n", "h", "lost"]


def test_a_terminal_gets_what_fits() -> None:
    code = (
        "from tests.cli.test_terminal import *\n"
        "terminal = Terminal()\n"
        "terminal.table(HEADS, ROWS)\n"
        "terminal.marked('v', 'word ' * 40 + 'end', indent=2, label='Label')\n"
        "print('done')"
    )
    with lab.Terminal([sys.executable, "-c", code], {"COLUMNS": "60", "NO_COLOR": "1"}) as screen:
        screen.expect("done")
        screen.end()
        plain = re.sub(r"\x1b\[[\d;]*m", "", screen.text)
    lines = [line.rstrip() for line in plain.splitlines()]
    assert all(len(line) <= 60 for line in lines)
    assert lines[0].split() == ["ID", "NAME", "HOST", "STATE"], "no column that is empty"
    (begin,) = (number for number, line in enumerate(lines) if line.startswith("  (v) Label: word"))
    assert lines[begin + 1].startswith("      word"), "it goes on below the label"
    assert "[bold]x[/]" in plain


def test_an_error_is_a_line_then_its_commands(capfd: pytest.CaptureFixture[str]) -> None:
    text = "words " * 30 + "end."
    error = SettingsError(
        text=text, advice="Try:", command="one\ntwo", details="[b]why\nelse\x1b[m"
    )
    Terminal().failure(error, of="it")
    assert capfd.readouterr() == (
        "",
        f"sshpyk: it: {text} Try:\n    one\n    two\n[b]why\nelse\n",
    )


def test_a_cell_is_one_line() -> None:
    assert one_line(" a\n\tb\r\x07 ") == "a b\ufffd\ufffd"
