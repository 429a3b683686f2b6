"""A server that a test runs in a process of its own, from when it says that it is up."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.lab.kernels import PATIENCE

#: Behind it nothing counts.
END = "\0"

Self = TypeVar("Self", bound="Daemon")


class Daemon:
    """Runs `command` until `close`. What it says on stderr is in the file `log`; it is up with the
    first line of which `is_up` is true."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        is_up: Callable[[str], bool],
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        reads, writes = os.pipe()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writes,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._has_said = threading.Event()  # that it is up, or all that it ever will
        self._was_up = False
        self._reading = threading.Thread(target=self._read, args=(reads, is_up), daemon=True)
        self._reading.start()
        threading.Thread(target=self._end_log, args=(writes,), daemon=True).start()
        try:
            assert self._has_said.wait(PATIENCE), self.log.read_text()
            assert self._was_up, self.log.read_text()
        except BaseException:
            self.close()
            raise

    def _read(self, reads: int, is_up: Callable[[str], bool]) -> None:
        with open(reads) as said, open(self.log, "w", buffering=1) as log:
            for line in said:
                text, end, _ = line.partition(END)
                log.write(text)
                if end:
                    break
                if is_up(line):
                    self._was_up = True
                    self._has_said.set()
        self._has_said.set()

    def _end_log(self, writes: int) -> None:
        """Have the log end with the process: what that has left behind, such as a debugger's
        adapter, may keep the pipe open."""
        self._process.wait()
        with open(writes, "w") as log:
            log.write(f"{END}\n")

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it as a person would, and what it has started with it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reading.join()
