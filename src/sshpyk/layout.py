"""Texts as dialogs and terminals show them: in lines that fit, with nothing that steers a terminal.

Pure functions over text.
"""

from __future__ import annotations

import re

#: Columns of a line. JupyterLab's dialog cuts off what is to the right of them.
COLUMNS = 80

#: Stands for a blank at which no line may end. It is in no text that people write.
_HELD = "\ue000"

#: A word, or what must stay in one piece: `a command`, or 'a name' as repr shows it.
_WORD = re.compile(r"[(]?`[^`\n]*`\S*|[(]?'[^'\n]*'\S*|\S+")


def printable(text: str) -> str:
    """`text` without what a terminal would obey: much of it is what a host said."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?", "", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", text)


def hold(text: str) -> str:
    """`text`, such as a path, so that `wrap` leaves it in one piece; `let_go` undoes it."""
    return re.sub(r"\s", _HELD, text)


def let_go(text: str) -> str:
    """`text` with ordinary blanks where `hold` has put others."""
    return text.replace(_HELD, " ")


def wrap(text: str) -> str:
    """`text` as one paragraph of lines of at most `COLUMNS`, broken between words.

    A word that is longer stands on a line of its own.
    """
    lines = [""]
    for word in _WORD.findall(text):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > COLUMNS:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return let_go("\n".join(lines))
