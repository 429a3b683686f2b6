"""The login shells that hosts have."""

from __future__ import annotations

import os
import shutil

import pytest

#: Every one that a user may have there, of both families and of none.
SHELLS = ("bash", "dash", "zsh", "fish", "csh", "tcsh")


def needed(shell: str) -> str:
    """The shell's path; skips the test where it is not installed, but never on CI."""
    path = shutil.which(shell)
    if path is None:
        reason = f"there is no {shell} here (apt-get install {shell})"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must not skip tests: {reason}", pytrace=False)
        pytest.skip(reason)
    return path
