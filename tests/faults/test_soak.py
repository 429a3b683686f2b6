"""A while of the soak, on seeds that stay the same. Longer: python -m tests.faults.soak"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import soak
from tests.faults.ways import FORWARDS, OTHERS, params

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", params(OTHERS))
def test_nothing_is_lost(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the others no longer than each kind of fault takes to come once."""
    table = soak.run(45 if name == FORWARDS else 0, 1, tmp_path, name)
    with capsys.disabled():
        print(f"\n{table}")
