"""A real Jupyter Server with remote kernels: what a user of JupyterLab meets."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
import websocket

from tests.jupyter.server import Server
from tests.lab.kernels import STATE, write_spec
from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.usefixtures("clean")]

PLOT = """
import matplotlib
matplotlib.use("module://matplotlib_inline.backend_inline")
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
"""

#: Says when it runs, then would for an hour.
LONG = "import time\nprint('begun')\ntime.sleep(3600)"


def test_a_notebook_on_a_remote_kernel(
    sshd: Sshd, tmp_path: Path, remote_home: Path, clean: Leftovers
) -> None:
    write_spec("remote", sshd)
    with Server(tmp_path) as server:
        kernel = server.start_kernel("remote")
        with server.connect(kernel) as notebook:
            cell = notebook.run("import os\nprint(os.environ['HOME'])\n6 * 7")
            assert cell.text == f"{remote_home}\n"
            assert cell.outputs[-1][0] == "execute_result"
            assert cell.outputs[-1][1]["data"]["text/plain"] == "42"

            cell = notebook.run("print('hello', input('who? '))", answer="you")
            assert cell.text == "hello you\n"

            cell = notebook.run(PLOT)
            (plot,) = [content for type, content in cell.outputs if type == "display_data"]
            assert base64.b64decode(plot["data"]["image/png"]).startswith(b"\x89PNG")

            cell = notebook.run("1 / 0")
            assert cell.reply["status"] == "error"
            assert [content["ename"] for type, content in cell.outputs if type == "error"] == [
                "ZeroDivisionError"
            ]

            cell = notebook.run(LONG, on_text=lambda text: server.act(kernel, "interrupt"))
            assert cell.reply["ename"] == "KeyboardInterrupt"
            assert notebook.run("os.environ['HOME']").reply["status"] == "ok"

            server.act(kernel, "restart")
            assert notebook.run("os").reply["ename"] == "NameError"
            cell = notebook.run("print('again')")
            assert cell.text == "again\n"
        server.shut_down(kernel)
        assert server.call("GET", "kernels") == (200, [])
        # At once, not only with the server's end.
        clean.assert_clean(masters=1, patience=5.0)
        assert not list((Path(os.environ["JUPYTER_RUNTIME_DIR"])).glob("kernel-*"))


def test_a_server_that_ends_takes_its_kernels_along(
    sshd: Sshd, tmp_path: Path, remote_home: Path, clean: Leftovers
) -> None:
    write_spec("remote", sshd)
    with Server(tmp_path) as server:
        kernel = server.start_kernel("remote")
        assert (remote_home / STATE / kernel).is_dir()
    clean.assert_clean(masters=1, patience=5.0)


def test_a_failed_start_says_why(sshd: Sshd, tmp_path: Path) -> None:
    write_spec("remote", sshd, remote_kernel_name="no-such-kernel")
    write_spec("typo", sshd, ssh_host_alias="no-such-host.invalid")
    reasons = {
        "remote": "There is no kernelspec no-such-kernel on sshd; there are: ",
        "typo": "The host no-such-host.invalid is unknown: ",
    }
    with Server(tmp_path) as server:
        for kernel, reason in reasons.items():
            # As JupyterLab starts one for a notebook.
            session = {"path": f"{kernel}.ipynb", "type": "notebook", "kernel": {"name": kernel}}
            status, answer = server.call("POST", "sessions", session)
            assert status == 500
            assert answer["message"].startswith(reason)
        assert server.call("GET", "kernels") == (200, [])


def test_a_failed_start_is_the_reason_of_a_pending_kernel(sshd: Sshd, tmp_path: Path) -> None:
    write_spec("remote", sshd, remote_kernel_name="no-such-kernel")
    pending = "--AsyncMappingKernelManager.use_pending_kernels=True"
    with Server(tmp_path, pending) as server:
        kernel = server.start_kernel("remote")
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            server.connect(kernel)
        assert refused.value.status_code == 500
        _, answer = server.call("GET", f"kernels/{kernel}")
        assert answer["execution_state"] == "dead"
        assert answer["reason"].startswith("There is no kernelspec no-such-kernel on sshd")
        server.shut_down(kernel)
