"""nbclient's own tests: whole notebooks, alone and side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jupyter.upstream import PATIENCE, Suite, check

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

SUITE = Suite(
    "nbclient",
    shares=(
        ["tests/test_client.py", "--deselect=tests/test_client.py::TestExecute"],
        ["tests/test_client.py::TestExecute", "tests/test_cli.py", "tests/test_util.py"],
    ),
    options=("-p", "no:jupyter_server", "-o", "asyncio_default_fixture_loop_scope=function"),
    plugins=(
        "backports.asyncio.runner",
        "flaky",
        "ipywidgets==8.1.9",
        "jupyterlab_widgets",
        "pytest-asyncio==1.5.0",
        "testpath",
        "widgetsnbextension",
        "xmltodict",
    ),
    # What the tests set here for their kernels: how a traceback calls a cell, the width of what is
    # printed, and where two notebooks meet.
    send_env=("IPYKERNEL_CELL_NAME", "COLUMNS", "LINES", "NBEXECUTE_TEST_PARALLEL_TMPDIR"),
    env={"IPYKERNEL_CELL_NAME": "<IPY-INPUT>"},
    fewest=120,
)


@pytest.mark.timeout(PATIENCE + 150)
def test_nbclients_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check(SUITE, request, tmp_path)
