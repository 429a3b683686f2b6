"""The files that travel use nothing newer than Python 3.8."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sshpyk

ROOT = Path(sshpyk.__file__).parent


@pytest.mark.parametrize("package", ["wire", "common", "agent"])
def test_runs_on_python_3_8(package: str) -> None:
    options = ("-t=3.8-", "--no-tips", "--violations", "--no-parse-comments")
    result = subprocess.run(
        [sys.executable, "-c", "import vermin; vermin.main()", *options, str(ROOT / package)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
