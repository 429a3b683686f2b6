"""A program on a real terminal: a pty of its own, with a person who types."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

#: Becomes the program after taking stdin as its controlling terminal, which /dev/tty is then.
_TAKE = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

_TIMEOUT = 60.0  # seconds, for anything


class Terminal:
    """A running program on a terminal of its own; use as a context manager.

    `text` is everything it has written so far; what is typed and echoed is in it.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.text = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **(environment or {})},
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def expect(self, text: str) -> str:
        """Wait until `text` is written, after what was expected before; everything up to it."""
        deadline = time.monotonic() + _TIMEOUT
        while (found := self.text.find(text, self._seen)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was never written, but:\n{self.text}")
        before = self.text[self._seen : found + len(text)]
        self._seen = found + len(text)
        return before

    def type(self, text: str) -> None:
        """Type a line."""
        self.press(text + "\n")

    def press(self, keys: str) -> None:
        """Press keys, and no Enter behind them."""
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait for the program's end; its exit status."""
        deadline = time.monotonic() + _TIMEOUT
        while self._read(deadline):
            pass
        return self.process.wait(_TIMEOUT)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # how Linux says that nobody has the other end any more
            data = b""
        self.text += data.decode("utf-8", "replace")
        return bool(data)
