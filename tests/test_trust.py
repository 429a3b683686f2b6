"""The rules of `tests.trust`, each on a small suite of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trust import KEPT, KEPT_OF_LINE, MOST_RETRIED, shortened

ROOT = Path(__file__).parents[1]

CONFTEST = """
from tests.trust import Trust

def pytest_configure(config):
    config.pluginmanager.register(Trust())
"""

#: Each parameter fails at its first try.
FLAKY = """
import pytest
tried = set()

@pytest.mark.flaky(reruns=1{more})
@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    is_second = number in tried
    tried.add(number)
    assert is_second
"""

SKIPPED = """
import pytest

def test_one():
    pytest.skip({reason!r})
"""

WHOLE_FILE = """
import pytest
pytest.skip("whoever", allow_module_level=True)
"""

MARKED = """
import pytest

@pytest.mark.skipif(True, reason="because")
def test_one():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_two():
    assert False
"""

#: Of the plugins, these alone.
PLUGINS = ("-p", "xdist", "-p", "pytest_rerunfailures", "-p", "no:cacheprovider")

LISTED = "vermin is not installed here"


def run(directory: Path, text: str, *options: str, ci: bool = False) -> tuple[int, str]:
    """Run a suite of one file: pytest's exit code, and what it printed."""
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGINS, *options, str(directory)],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CI": "true" if ci else "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take a second to import
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("-n1",)], ids=["alone", "xdist"])
@pytest.mark.parametrize(("count", "expected"), [(MOST_RETRIED, 0), (MOST_RETRIED + 1, 1)])
def test_three_tests_may_be_tried_again(
    tmp_path: Path, count: int, expected: int, options: tuple[str, ...]
) -> None:
    code, printed = run(tmp_path, FLAKY.format(more=", reason='a'", count=count), *options)
    assert code == expected, printed
    assert f"{count} passed" in printed
    assert "test_it.py::test_one[2]" in printed


def test_a_mark_says_why(tmp_path: Path) -> None:
    code, printed = run(tmp_path, FLAKY.format(more="", count=1))
    assert code == 1
    assert "must say why" in printed


def test_a_listed_skip_passes_in_ci(tmp_path: Path) -> None:
    code, printed = run(tmp_path, SKIPPED.format(reason=LISTED), ci=True)
    assert code == 0, printed
    assert "1 skipped" in printed


@pytest.mark.parametrize("ci", [True, False])
@pytest.mark.parametrize("text", [SKIPPED.format(reason=f"{LISTED}, or is it"), MARKED])
def test_any_other_skip_fails_in_ci_only(tmp_path: Path, text: str, ci: bool) -> None:
    code, printed = run(tmp_path, text, ci=ci)
    assert code == ci, printed
    assert ("whose reason is not in tests/skips.py" in printed) == ci
    assert ("1 xfailed" in printed) == ("xfail" in text)


def test_a_file_that_is_skipped_fails_in_ci(tmp_path: Path) -> None:
    assert run(tmp_path, WHOLE_FILE, ci=False)[0] == pytest.ExitCode.NO_TESTS_COLLECTED
    code, printed = run(tmp_path, WHOLE_FILE, ci=True)
    assert code == pytest.ExitCode.INTERRUPTED, printed
    assert "whose reason is not in tests/skips.py: whoever" in printed


def test_what_was_wrong_is_shown_however_long_the_failure() -> None:
    assert shortened("E   short") == "E   short"
    wrong = "E   this" + "x" * KEPT
    shown = shortened("\n".join(["code", wrong, "more" * KEPT, "the end"]))
    assert shown.splitlines()[0] == wrong[:KEPT_OF_LINE]
    assert shown.endswith("the end")
    assert len(shown) < KEPT + 2 * KEPT_OF_LINE
