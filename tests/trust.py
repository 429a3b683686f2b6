"""Rules by which a run that passes can be trusted: on second tries, and on skips.

A test may be tried again only if it is marked so, with the reason::

    @pytest.mark.flaky(reruns=1, reason="fork() beside threads, in upstream's own test")

If more than `MOST_RETRIED` tests needed that, the run fails. In CI (the environment's CI is
"true") a skip fails the test unless `tests.skips` lists its reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from textwrap import indent

import pytest

from tests.skips import ALLOWED

#: So many tests of one run may need a second try.
MOST_RETRIED = 3

#: Characters of its first failure that are shown, at the end, and of each line that says what was
#: wrong.
KEPT = 3000
KEPT_OF_LINE = 300


class Trust:
    """A plugin: one for each process of a run; the one that reports does the counting."""

    def __init__(self) -> None:
        self.retried: dict[str, str] = {}  # why each failed the first time

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a mark without a reason."""
        mark = item.get_closest_marker("flaky")
        if mark is not None and not mark.kwargs.get("reason"):
            pytest.fail("a test that may be tried again must say why: reason=", pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a test that is skipped without a listed reason."""
        report = yield
        if not hasattr(report, "wasxfail"):
            refuse_skip(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Fail a whole file that is skipped without a listed reason."""
        report = yield
        refuse_skip(report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count the tests that were tried again."""
        outcome: str = report.outcome
        if outcome == "rerun":  # pytest-rerunfailures' own
            self.retried.setdefault(report.nodeid, report.longreprtext)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if they were too many."""
        if len(self.retried) > MOST_RETRIED and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name them."""
        if self.retried:
            terminalreporter.section("tried again")
            for nodeid, why in sorted(self.retried.items()):
                terminalreporter.line(f"{nodeid}\n{indent(shortened(why), '    ')}")
        if len(self.retried) > MOST_RETRIED:
            terminalreporter.line(
                f"These are {len(self.retried)} tests, and {MOST_RETRIED} may be: the run fails.",
                red=True,
            )


def shortened(why: str) -> str:
    """The lines of a failure that say what was wrong, and the end."""
    if len(why) <= KEPT:
        return why
    said = [line[:KEPT_OF_LINE] for line in why.splitlines() if line.startswith("E ")]
    return "\n".join([*said, "…", why[-KEPT:]])


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure, if this is CI and its reason is not listed."""
    if not report.skipped or os.environ.get("CI") != "true":
        return
    detail = report.longrepr
    reason = (detail[2] if isinstance(detail, tuple) else str(detail)).removeprefix("Skipped: ")
    if not any(re.fullmatch(pattern, reason, re.DOTALL) for pattern in ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"CI skips nothing whose reason is not in tests/skips.py: {reason}"
