"""The clock that shows a machine's sleep, on each system."""

from __future__ import annotations

import sys
import time

import pytest

from sshpyk.link import clock


def test_linux_counts_sleep() -> None:
    assert clock.boot_time() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)


def test_macos_counts_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """`time.monotonic` stands still there in sleep, and its CLOCK_MONOTONIC does not."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(
        time, "clock_gettime", lambda which: 7.0 if which == time.CLOCK_MONOTONIC else 0.0
    )
    assert clock.boot_time() == 7.0


def test_others_have_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(sys, "platform", "other")
    assert clock.boot_time() == pytest.approx(time.monotonic(), abs=5)
