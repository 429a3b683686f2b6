"""The agent's logs, when the disk or somebody else is in their way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sshpyk.agent.kernel import Log

LIMIT = 100


def fail(*_: object, **__: object) -> None:
    raise OSError("no")


@pytest.mark.parametrize("what", ["replace", "open"])
def test_a_log_that_can_not_be_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It never writes to, or closes, what somebody else has opened meanwhile."""
    log = Log(str(tmp_path / "log"), LIMIT)
    monkeypatch.setattr(os, what, fail)
    log.write(b"a" * (LIMIT + 1))
    monkeypatch.undo()
    with open(tmp_path / "other", "wb", buffering=0) as other:
        log.write(b"b\n")
        log.close()
        log.close()
        os.fstat(other.fileno())
    assert (tmp_path / "other").read_bytes() == b""
    assert (tmp_path / "log.1").read_bytes() == b"a" * (LIMIT + 1) + b"b\n"
    assert (tmp_path / "log").read_bytes() == b""


def test_goes_on_when_it_can_be_set_aside_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(str(tmp_path / "log"), LIMIT)
    monkeypatch.setattr(os, "replace", fail)
    for _ in range(100):
        log.write(b"a" * 10)
    size = (tmp_path / "log").stat().st_size
    assert 2 * LIMIT < size <= 3 * LIMIT
    monkeypatch.undo()
    log.write(b"lost")
    log.write(b"kept")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"kept"
    log.write(b"after its end")
    assert (tmp_path / "log").read_bytes() == b"kept"
