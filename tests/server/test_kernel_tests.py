"""jupyter_kernel_test's suite against a kernel of a Jupyter Server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from sshpyk.server import transport
from tests.jupyter import test_kernel_tests as over_ssh
from tests.jupyter.server import Server
from tests.server.servers import until_none, write_card


@pytest.fixture(scope="module", autouse=True)
def card(far: Server) -> Iterator[None]:
    """The kernelspec "far", for classes that start their kernel before any test's fixtures."""
    with (
        tempfile.TemporaryDirectory(prefix="jupyter-", dir="/tmp") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("JUPYTER_DATA_DIR", name)
        patch.setenv("JUPYTER_RUNTIME_DIR", f"{name}/runtime")
        patch.setenv("SERVER_TOKEN", far.token)
        patch.setattr(transport, "IDLE", 0.5)
        write_card("far", f"http://127.0.0.1:{far.port}/")
        write_card("carried", f"http://127.0.0.1:{far.port}/", server_way="carried")
        yield
    until_none(far)


class TestServerKernel(over_ssh.TestKernel):
    """One kernel for all of them; the samples are those of the kernel over ssh."""

    kernel_name = "far"


class TestCarriedKernel(over_ssh.TestKernel):
    """The same, carried."""

    kernel_name = "carried"
