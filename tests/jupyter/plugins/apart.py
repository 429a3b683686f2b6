"""For jupyter_client's suite: each share runs in a directory of its own.

Its tests of ipc have their sockets, all called alike, where they run, and a manager
that ends removes files that another share's may have by then: a client then waits for ever.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Go there: it is beside the share's report."""
    directory = Path(f"{item.config.option.xmlpath}.d")
    directory.mkdir(exist_ok=True)
    os.chdir(directory)
