"""A program in a terminal of its own, as a person has it: keys, the screen, hanging up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

#: Makes the terminal the controlling one, so that keys become signals, then becomes the program.
LOGIN = (
    "import fcntl, os, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)

PATIENCE = 30.0  # seconds

CTRL_C, CTRL_D, CTRL_BACKSLASH = b"\x03", b"\x04", b"\x1c"


class Terminal:
    """`argv` in a terminal of 200 columns; use as `with`, which kills what still runs."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", LOGIN, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
        os.close(slave)
        self.screen = ""  # everything that was ever written

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def expect(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait until `pattern` is among what was written since the last match."""
        deadline = time.monotonic() + patience
        while True:
            found = re.search(pattern, self.screen)
            if found:
                self.screen = self.screen[found.end() :]
                return found
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{pattern!r} is not on the screen:\n{self.screen}")

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit status; what it still writes is read meanwhile."""
        deadline = time.monotonic() + patience
        while (
            self._master >= 0
            and self.process.poll() is None
            and self._read(deadline - time.monotonic())
        ):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def send(self, signum: signal.Signals) -> None:
        """Send the program a signal."""
        self.process.send_signal(signum)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self, patience: float) -> bool:
        """Read what is there; False where there will be nothing more, or not in time."""
        if not select.select([self._master], [], [], max(0.0, patience))[0]:
            return False
        with contextlib.suppress(OSError):
            data = os.read(self._master, 65536)
            self.screen += data.decode("utf-8", "replace").replace("\r\n", "\n")
            return bool(data)
        return False
