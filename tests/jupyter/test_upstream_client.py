"""jupyter_client's own tests of its managers, restarters and provisioners."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jupyter.upstream import PATIENCE, RAISES, Suite, check

pytestmark = [pytest.mark.sshd, pytest.mark.slow]

PARALLEL = "tests/test_kernelmanager.py::TestParallel"

_IS_OURS = "it asserts that the default is jupyter_client's local provisioner; here it is ours"

SUITE = Suite(
    "jupyter_client",
    shares=(
        [PARALLEL],
        ["tests/test_kernelmanager.py", f"--deselect={PARALLEL}"],
        ["tests/test_multikernelmanager.py"],
        # Most of the time these wait.
        ["tests/test_restarter.py", "tests/test_provisioning.py"],
    ),
    plugins=("pytest-jupyter==0.11.0",),
    options=("-p", "apart"),
    kernels={
        "signaltest": ("tests.signalkernel", {}),
        "signaltest-no-shutdown": ("tests.signalkernel", {"NO_SHUTDOWN_REPLY": "1"}),
        "signaltest-no-terminate": (
            "tests.signalkernel",
            {"NO_SHUTDOWN_REPLY": "1", "NO_SIGTERM_REPLY": "1"},
        ),
        "problemtest": ("tests.problemkernel", {}),
        "problemtest-fail": ("tests.problemkernel", {"FAIL_ON_START": "1"}),
        "problemtest-slow": (
            "tests.problemkernel",
            {"STARTUP_DELAY": "5", "FAIL_ON_START": "1"},
        ),
    },
    fewest=75,
    not_applicable={
        # That the restarter gives up on a kernel that can't start again: test_managers.py.
        "tests.test_restarter.test_restarter_gives_up[tcp]": RAISES,
        "tests.test_restarter.test_restarter_gives_up[ipc]": RAISES,
        "tests.test_restarter.test_async_restarter_gives_up[tcp]": RAISES,
        "tests.test_restarter.test_async_restarter_gives_up[ipc]": RAISES,
        **{
            f"tests.test_provisioning.TestRuntime.test_{name}": _IS_OURS
            for name in (
                "existing[no_provisioner]",
                "local_provisioner_pre_launch_generates_curve_keys_over_ipc",
                "local_provisioner_pre_launch_generates_curve_keys_under_transport_encryption",
            )
        },
    },
)


@pytest.mark.timeout(PATIENCE + 150)
def test_jupyter_clients_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check(SUITE, request, tmp_path)
