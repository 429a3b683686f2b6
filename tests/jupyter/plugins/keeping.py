"""For upstream's suites: what a failed test has left behind is not another test's fault.

Its frames, and so the managers and sockets in them, stay for as long as the process. Else whichever
test runs when they are collected fails with their warnings.
"""

from __future__ import annotations

from typing import Any

import pytest

_kept: list[Any] = []


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Keep a test's exception, and what hangs on it."""
    if call.excinfo is not None:
        _kept.append(call.excinfo)
