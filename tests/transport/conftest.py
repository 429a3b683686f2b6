"""Transports over an ssh of ours: no server, and each test takes a moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.transport import openssh
from tests.lab.fakessh import FakeSsh


@pytest.fixture
def ssh(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSsh]:
    """The program, with nothing of other tests remembered, nor any master of theirs."""
    openssh.forget_all()
    (short_tmp / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp / "run"))
    fake = FakeSsh(short_tmp)
    yield fake
    fake.end_masters()
