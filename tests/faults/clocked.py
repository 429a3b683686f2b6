"""Runs Python code like `python -c`, on a clock that a test can put forward.

The arguments: a file with the seconds to add, then those of the python that this stands in for.
"""

import sys
import time
from collections.abc import Callable

offset, words = sys.argv[1], sys.argv[2:]
true: Callable[[], float] = time.monotonic


def monotonic() -> float:
    """The true time and what the test has added to it."""
    with open(offset) as file:
        return true() + float(file.read() or 0)


time.monotonic = monotonic
sys.argv = ["-c"]
exec(words[words.index("-c") + 1], {"__name__": "__main__"})
