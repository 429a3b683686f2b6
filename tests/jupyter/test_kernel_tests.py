"""jupyter_kernel_test's suite against the remote ipykernel, every sample of it filled in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupyter_kernel_test
import pytest
from jupyter_client.manager import KernelManager

from tests.lab.kernels import PATIENCE, left_behind, write_spec
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd


@pytest.fixture(scope="module", autouse=True)
def spec(sshd: Sshd, remote_home: Path) -> Iterator[None]:
    """The kernelspec "remote", for classes that start their kernel before any test's fixtures."""
    with tempfile.TemporaryDirectory(prefix="jupyter-", dir="/tmp") as name:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_DATA_DIR", name)
            patch.setenv("JUPYTER_RUNTIME_DIR", f"{name}/runtime")
            write_spec("remote", sshd)
            yield
        assert left_behind(remote_home) == []


class TestKernel(jupyter_kernel_test.KernelTests):  # type: ignore[misc]  # it has no types
    """One kernel for all of them."""

    kernel_name = "remote"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = ({"text": "zi", "matches": {"zip"}},)
    complete_code_samples = ("1", "print('hello, world')", "def f(x):\n  return x*2\n\n")
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2")
    invalid_code_samples = ("import = 7q",)
    code_page_something = "zip?"
    code_generate_error = "raise ValueError"
    code_execute_result = (
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    )
    code_display_data = (
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))"}
        | {"mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))"}
        | {"mime": "text/latex"},
    )
    code_history_pattern = "1?2*"
    # Not "range": IPython numbers the current session 0 there and otherwise elsewhere, and so a
    # local kernel fails too.
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


def test_the_subscription_to_iopub_goes_all_the_way(sshd: Sshd) -> None:
    """The suite has this too, but takes anything that the kernel says earlier for an error."""
    write_spec("remote", sshd)
    manager = KernelManager(kernel_name="remote")
    manager.start_kernel()
    client = manager.client()
    client.start_channels(hb=False)  # stopped before it has begun, it never ends (jupyter_client)
    try:
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "iopub_welcome":
            pass
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
