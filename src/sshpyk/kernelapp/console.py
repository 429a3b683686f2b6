"""The terminal of `sshpyk-kernel`: lines to read, a status line below them, and the menu."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import time
from collections.abc import Callable

from ..remotekernel import State, Status
from .actions import Action

MENU = (
    "[Y] shut the kernel down, [i] interrupt it, [l] leave it running, [r] restart it, [n] nothing:"
)


class Console:
    """What is said, and what is asked at the keyboard; `on_action` is told what to do.

    Everything goes to stderr: a kernel's stdout is nobody's, or a notebook server's log.
    """

    def __init__(self, on_action: Callable[[Action], None], *, captures: bool) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.captures = captures and self.is_terminal and sys.stdin.isatty()
        self._on_action = on_action
        self._status = ""
        self._menu_is_open = False

    def begin(self) -> None:
        """Listen to the keyboard, on the running loop."""
        if self.captures:
            asyncio.get_running_loop().add_reader(0, self._on_keys)

    def close(self) -> None:
        """Listen no more."""
        if self.captures:
            asyncio.get_running_loop().remove_reader(0)
        self.status("")

    def say(self, text: str) -> None:
        """A line, above the status line."""
        self._write(f"{self._erase}{text}\n{self._shown}")

    def status(self, text: str) -> None:
        """What the status line says from now on; only on a terminal."""
        if self.is_terminal and text != self._status:
            self._status = text
            self._write(f"{self._erase}{self._shown}")

    @staticmethod
    def describe(status: Status) -> str:
        """The status line's text."""
        if status.state is State.CONNECTED and status.busy_since is not None:
            activity = "busy" if status.busy else "idle"
            return f"connected · kernel {activity} since {_clock(status.busy_since)}"
        if status.state is State.AWAY:
            why = f" ({status.trouble.what[:100]})" if status.trouble is not None else ""
            return f"reconnecting since {_clock(status.since)}{why}"
        if status.stage_text is not None:
            return status.stage_text
        return str(status.state.value)

    @property
    def _erase(self) -> str:
        return "\r\x1b[K" if self.is_terminal else ""

    @property
    def _shown(self) -> str:
        if self._menu_is_open:
            return f"{MENU} "
        try:
            width = os.get_terminal_size(2).columns
        except OSError:  # it is gone
            return ""
        return self._status[: max(0, width - 1)]

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed
            sys.stderr.write(text)
            sys.stderr.flush()

    def _on_keys(self) -> None:
        """A line, or Ctrl+D, which comes as the end of input and is none."""
        try:
            data = os.read(0, 1024)
            termios.tcgetattr(0)
        except (OSError, termios.error):  # the terminal is gone; SIGHUP says so as well
            asyncio.get_running_loop().remove_reader(0)
            return
        if not self._menu_is_open:
            self._menu_is_open = not data
            if self._menu_is_open:
                self._write(f"{self._erase}{self._shown}")
            return
        self._menu_is_open = False
        # A second Ctrl+D is no choice: a terminal that is being closed looks just like it.
        action = self._choice(data) if data else None
        if not data:
            self._write("\n")
        if action is not None:
            self._on_action(action)
        else:
            self._write(self._shown)

    @staticmethod
    def _choice(line: bytes) -> Action | None:
        answer = line.decode("utf-8", "replace").strip().lower()[:1]
        choices = {
            "": Action.SHUTDOWN,
            "y": Action.SHUTDOWN,
            "i": Action.INTERRUPT,
            "l": Action.LEAVE,
            "r": Action.RESTART,
        }
        return choices.get(answer)


def _clock(seconds: float) -> str:
    """A time of today as its clock, of another day with its date."""
    moment = time.localtime(seconds)
    is_today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M", moment)
