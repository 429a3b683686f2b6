"""What the commands write: plain where it is read by programs, in colour on a terminal."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ..errors import SshpykError

#: The marks, those of sshpyk 1.25: right, wrong, perhaps wrong, for information, not checked.
GOOD, BAD, WARNING, INFO, UNKNOWN = "v", "x", "!", "i", "?"

MARKS = {GOOD: "green", BAD: "bold red", WARNING: "yellow", INFO: "blue", UNKNOWN: "dim"}

#: Columns, where there is no terminal that has some: no row of a table is broken.
WIDE = 100_000


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
        """A sentence that says why a command failed."""
        from rich.text import Text

        line = Text.assemble(("sshpyk:", "bold red"), f" {clean(text)}")
        self.err.print(line, soft_wrap=not self.err.is_terminal)

    def failure(self, error: SshpykError, *, of: str = "") -> None:
        """What went wrong, `of` what: a sentence, then the commands that help, each a line, then
        what the other side said."""
        self.error(" ".join(filter(None, (of and f"{of}:", error.what, error.advice))))
        for line in error.command.splitlines():
            self.err.print(f"    {clean(line)}")
        if error.details:
            self.err.print(clean(error.details))

    def marked(self, mark: str, text: str, *, indent: int = 0, label: str = "") -> None:
        """A line with a mark in front, and perhaps a label: `(v) Label: text`.

        Where a terminal has too few columns it goes on below the label.
        """
        from rich.table import Table
        from rich.text import Text

        line = Text()
        if label:
            line.append(f"{label}: ", "bold")
        line.append(clean(text))
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        if mark:
            grid.add_row(Text(" " * indent).append(f"({mark})", MARKS[mark]), line)
        else:
            grid.add_row(Text(" " * max(0, indent - 1)), line)
        _print_rows(self.out, grid)

    def table(
        self,
        heads: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        styles: Sequence[str] = (),
        beside: bool = False,
    ) -> None:
        """A table on standard output, or `beside` it. `styles` are those of the rows.

        A row is one line where no terminal is; a terminal gets no column that is empty, and cells
        of several lines where it has too few columns.
        """
        console = self.err if beside else self.out
        _print_rows(console, self._make_table(console, heads, rows, styles))

    def _make_table(
        self,
        console: Console,
        heads: Sequence[str],
        rows: Iterable[Sequence[str]],
        styles: Sequence[str] = (),
    ) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        rows = [[one_line(cell) for cell in row] for row in rows]
        shown = [n for n in range(len(heads)) if not console.is_terminal or any(r[n] for r in rows)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number in shown:
            table.add_column(Text(heads[number]), overflow="fold")
        for number, row in enumerate(rows):
            style = styles[number] if styles else ""
            table.add_row(*(Text(row[n]) for n in shown), style=style)
        return table

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[Sequence[str], Sequence[Sequence[str]], str], None]]:
        """A table on standard output that changes: gives what shows its heads and rows, and a text
        below them, any thread. Where no terminal is, they are printed anew each time."""
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        console = self.out

        def show(heads: Sequence[str], rows: Sequence[Sequence[str]], below: str) -> None:
            table = self._make_table(console, heads, rows)
            if live is None:
                _print_rows(console, table)
                self.say(f"{below}\n" if below else "")
                sys.stdout.flush()
            else:
                live.update(Group(table, "", Text(clean(below), "dim")), refresh=True)

        if not console.is_terminal:
            live = None
            yield show
            return
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield show

    @contextlib.contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something takes a while; gives what changes the text."""
        if not self.err.is_terminal:
            yield lambda text: None
            return
        from rich.text import Text

        with self.err.status(Text(clean(text))) as status:
            yield lambda text: status.update(Text(clean(text)))

    @contextlib.contextmanager
    def bar(self) -> Iterator[Callable[[int, int, str], None]]:
        """A bar beside the output that grows: gives what shows how many are done of how many, and a
        text behind. Where no terminal is nothing is shown."""
        if not self.err.is_terminal:
            yield lambda done, total, text: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        text_column = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), MofNCompleteColumn(), Elapsed(), text_column)
        with Progress(*columns, console=self.err) as progress:
            task = progress.add_task("", total=None)

            def show(done: int, total: int, text: str) -> None:
                words = one_line(text)
                progress.update(task, completed=done, total=total or None, description=words)

            yield show

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


class Silent(Terminal):
    """Nobody is there: nothing is written, and nobody can be asked."""

    @functools.cached_property
    def out(self) -> Console:
        """Nowhere."""
        from rich.console import Console

        return Console(file=io.StringIO(), width=WIDE)

    @functools.cached_property
    def err(self) -> Console:
        """Nowhere."""
        return self.out

    @property
    def is_interactive(self) -> bool:
        return False


def clean(text: str) -> str:
    """`text` with nothing in it that steers a terminal: hosts and files choose their words."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """`text` as a cell of a table: clean, and without ends of lines."""
    return re.sub(r"\s+", " ", clean(text)).strip()


def _print_rows(console: Console, rows: RenderableType) -> None:
    """Print what rich lays out in columns, without the blanks that it puts at the ends of lines."""
    if console.is_terminal:
        console.print(rows, soft_wrap=False)
        return
    with console.capture() as capture:
        console.print(rows, soft_wrap=False)
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")


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
