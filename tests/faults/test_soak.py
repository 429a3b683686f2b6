"""Minutes of the soak, on seeds that stay the same. Longer: python -m tests.faults.soak"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import soak

pytestmark = [pytest.mark.sshd, pytest.mark.slow]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = soak.run(30, seed, tmp_path)
    with capsys.disabled():
        print(f"\n{table}")
