"""Places for tests: containers, and commands that do as bad ones do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.containers import Containers, containers, trouble


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    """Containers of this test's own; the programs that lead into them are on PATH."""
    if reason := trouble():
        pytest.skip(reason)
    # Not below /tmp, of which each container has one of its own.
    directory = tempfile.TemporaryDirectory(prefix="c-", dir="/var/tmp")
    with directory as name, containers(Path(name)) as made:
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        yield made


@pytest.fixture
def home(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own for kernels on this very machine."""
    monkeypatch.setenv("HOME", str(short_tmp))
    return short_tmp
