"""What the demo tells its audience: what it does, what it sees, and what held."""

from __future__ import annotations

from ..cli.terminal import Terminal, clean


class Broken(Exception):
    """Something did not hold."""


class Narrator:
    """Tells it on `terminal`."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def step(self, text: str) -> None:
        """What is done next."""
        self._terminal.say(f"\n▸ {text}", "bold cyan")

    def show(self, text: str) -> None:
        """What is seen."""
        self._terminal.say(f"  {text}", "dim")

    def held(self, text: str, condition: bool) -> None:
        """What must hold. Raises `Broken` where it does not."""
        from rich.text import Text

        if not condition:
            raise Broken(text)
        self._terminal.out.print(Text.assemble("  ", ("✓", "green"), f" {clean(text)}"))

    def end(self, broken: Broken | None = None) -> None:
        """How it ended."""
        if broken is None:
            self._terminal.say("\nEverything held.", "bold green")
        else:
            self._terminal.say(f"\n✗ This did not hold: {broken}", "bold red")
