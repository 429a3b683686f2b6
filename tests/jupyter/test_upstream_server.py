"""Jupyter Server's own tests of kernels and sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jupyter.upstream import PATIENCE, RAISES, Suite, check

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

SUITE = Suite(
    "jupyter_server",
    shares=(
        [
            "tests/services/kernels",
            "tests/services/sessions",
            "--deselect=tests/services/kernels/test_cull.py",
            # It counts descriptors one second after a hundred connections that ended at once, which
            # is too soon on a busy machine; that none is left at last: test_managers.py.
            "--deselect=tests/services/kernels/test_connection.py"
            "::test_no_fd_leak_on_disconnect_with_orphaned_kernel_info_channel",
        ],
    ),
    options=(
        # Of three or four managers of kernels the one that is the default. (The first is the
        # synchronous one, which is deprecated.)
        "-k=not (config0 or config2 or config3)",
        # Tornado 6.6 warns of how these tests make their requests.
        "-W=ignore:The method, uri, and version arguments:DeprecationWarning",
        "-W=ignore:The start_line argument:DeprecationWarning",
    ),
    plugins=(
        "flaky",
        "pytest-console-scripts",
        "pytest-jupyter==0.11.0",
        "requests",
        "certifi",
        "charset_normalizer",
        "idna",
        "urllib3",
    ),
    fewest=80,
    not_applicable={
        # That a kernel that can't encrypt gets no keys: test_managers.py.
        "tests.services.kernels.test_transport_encryption."
        "test_transport_encryption_auto_skips_keys_for_non_curve_kernel": RAISES,
    },
)


@pytest.mark.timeout(PATIENCE + 150)
def test_jupyter_servers_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check(SUITE, request, tmp_path)
