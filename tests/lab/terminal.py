"""A program on a real terminal: a pty of its own, with a person who types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

#: Becomes the program after taking stdin as its controlling terminal, which /dev/tty is then.
_TAKE = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

_TIMEOUT = 60.0  # seconds, for anything


CTRL_C, CTRL_D, CTRL_BACKSLASH = "\x03", "\x04", "\x1c"


class Terminal:
    """A running program on a terminal of its own, of 50 lines with 200 columns; use as `with`.

    `text` is everything it has written so far; what is typed and echoed is in it.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.text = ""
        self._seen = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
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
        self.hang_up()

    def expect(self, text: str) -> str:
        """Wait until `text` is written, after what was expected before; everything up to it."""
        seen = self._seen
        self.match(re.escape(text))
        return self.text[seen : self._seen]

    def match(self, pattern: str) -> re.Match[str]:
        """Wait until `pattern` is found in what is written after what was expected before."""
        deadline = time.monotonic() + _TIMEOUT
        while (found := re.compile(pattern).search(self.text, self._seen)) is None:
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} was never written, but:\n{self.text}")
        self._seen = found.end()
        return found

    def forget(self) -> None:
        """Look no more at what was written so far."""
        self._seen = len(self.text)

    def type(self, text: str) -> None:
        """Type a line."""
        self.press(text + "\n")

    def press(self, keys: str) -> None:
        """Press keys, and no Enter behind them."""
        os.write(self._master, keys.encode())

    def send(self, signum: signal.Signals) -> None:
        """Send the program a signal."""
        self.process.send_signal(signum)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def end(self) -> int:
        """Wait for the program's end; its exit status."""
        deadline = time.monotonic() + _TIMEOUT
        while self._master >= 0 and self.process.poll() is None:
            if not self._read(deadline):
                break
        while self._master >= 0 and self._read(0.0):
            pass
        return self.process.wait(_TIMEOUT)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # how Linux says that nobody has the other end any more
            data = b""
        self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)
