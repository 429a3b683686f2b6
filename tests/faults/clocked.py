"""Runs code like `python -c`, or its stdin like `python -`, on a clock that a test puts forward.

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
first = next(number for number, word in enumerate(words) if word in ("-c", "-"))
is_given = words[first] == "-c"
sys.argv = [words[first], *words[first + 1 + is_given :]]
exec(words[first + 1] if is_given else sys.stdin.read(), {"__name__": "__main__"})
