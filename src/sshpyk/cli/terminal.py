"""What the commands write: plain where it is read by programs, in colour on a terminal."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: The marks, those of sshpyk 1.25: right, wrong, perhaps wrong, for information, not looked at.
GOOD, BAD, WARNING, INFO, UNKNOWN = "v", "x", "!", "i", "?"

MARKS = {GOOD: "green", BAD: "bold red", WARNING: "yellow", INFO: "blue", UNKNOWN: "dim"}


#: Columns, where there is no terminal that has some.
WIDE = 400


class Terminal:
    """Standard output and error. Rich decides about colour: only on a terminal, never where
    NO_COLOR is set."""

    @functools.cached_property
    def out(self) -> Console:
        """Standard output."""
        return _console(stderr=False)

    @functools.cached_property
    def err(self) -> Console:
        """Standard error."""
        return _console(stderr=True)

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits there who can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, text: str = "", style: str = "") -> None:
        """A line of output."""
        self.out.print(clean(text), style=style)

    def raw(self, text: str) -> None:
        """Output for programs: as it is."""
        sys.stdout.write(text)

    def note(self, text: str, style: str = "") -> None:
        """A line beside the output: progress, or what a person should know."""
        self.err.print(clean(text), style=style)

    def error(self, text: str) -> None:
        """Why a command failed."""
        self.err.print("[bold red]sshpyk:[/]", end=" ", markup=True)
        self.err.print(clean(text))

    def marked(self, mark: str, text: str, *, indent: int = 0, label: str = "") -> None:
        """A line with a mark in front, and perhaps a label: `(v) Label: text`."""
        from rich.text import Text

        line = Text(" " * indent)
        if mark:
            line.append(f"({mark}) ", MARKS[mark])
        if label:
            line.append(f"{label}: ", "bold")
        line.append(clean(text))
        self.out.print(line)

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something takes a while; gives what changes the text."""
        if not self.err.is_terminal:
            yield lambda text: None
            return
        from rich.text import Text

        with self.err.status(Text(clean(text))) as status:
            yield lambda text: status.update(Text(clean(text)))

    def ask(self, question: str) -> str:
        """A person's answer; empty where there is none any more."""
        self.err.print(clean(question), end=" ")
        try:
            return input().strip()
        except EOFError:
            self.err.print()
            return ""

    def confirm(self, question: str) -> bool:
        """Whether the person says yes. A bare Enter is a no."""
        return self.ask(f"{question} [y/N]").lower() in ("y", "yes")


def clean(text: str) -> str:
    """`text` with nothing in it that steers a terminal: hosts and files choose their words."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # Lines are as long as they are; tables, too, where a program reads them.
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        width=None if stream.isatty() else WIDE,
    )
