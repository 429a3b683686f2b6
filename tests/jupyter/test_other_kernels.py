"""Kernels that are not Python, and every way to interrupt one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.lab.kernels import PATIENCE, run_code, started, write_spec
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.usefixtures("clean")]

MODES = ["signal", "message"]


def write_remote_spec(home: Path, name: str, *argv: str, **content: object) -> None:
    """A kernelspec on the host."""
    directory = home / ".local/share/jupyter/kernels" / name
    directory.mkdir(parents=True, exist_ok=True)
    spec = {"argv": argv, "display_name": name, "language": "any", **content}
    (directory / "kernel.json").write_text(json.dumps(spec))


def interrupt(manager: KernelManager, client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """Interrupt `code`, which says "begun" and would go on for an hour; its reply."""
    # ipykernel throws away what comes just after an error, unless it is told not to.
    sent = client.execute(code, stop_on_error=False)
    printed = ""
    while "begun" not in printed:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["msg_type"] == "stream":
            printed += message["content"]["text"]
    manager.interrupt_kernel()
    while True:
        reply = client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"]["msg_id"] == sent:
            content: dict[str, Any] = reply["content"]
            return content


#: Not with flush=True: an ipykernel, a local one too, loses an interrupt in a hundred that comes
#: while it waits for its flush. A moment later it has told by itself.
PYTHON = "print('begun')\nfor _ in range(36000): __import__('time').sleep(0.1)"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("remote_mode", MODES)
def test_ipykernel(sshd: Sshd, remote_home: Path, mode: str, remote_mode: str) -> None:
    """It takes both, so whatever either kernelspec says must do."""
    argv = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    write_remote_spec(remote_home, "python-modes", *argv, interrupt_mode=remote_mode)
    local = {"interrupt_mode": mode}
    write_spec("remote", sshd, spec=local, remote_kernel_name="python-modes")
    with started("remote") as (manager, client):
        assert interrupt(manager, client, PYTHON)["ename"] == "KeyboardInterrupt"
        assert run_code(client, "print(6 * 7)") == "42\n"


#: Waits for an interrupt_request whatever it is asked, and does not know SIGINT.
MESSAGE_KERNEL = """
import signal, threading
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

class MessageKernel(Kernel):
    implementation = implementation_version = banner = "message"
    language_info = {"name": "none", "mimetype": "text/plain", "file_extension": ".txt"}
    told = threading.Event()

    def do_execute(self, code, silent, *args, **kwargs):
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": "begun"})
        self.told.wait()
        return {"status": "ok", "execution_count": 1, "user_expressions": {"told": "told"}}

    async def interrupt_request(self, stream, ident, parent):
        self.told.set()
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

class App(IPKernelApp):
    kernel_class = MessageKernel
    def init_signal(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)

App.launch_instance()
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_kernel_that_takes_only_messages(sshd: Sshd, remote_home: Path, mode: str) -> None:
    program = remote_home / "message_kernel.py"
    program.write_text(MESSAGE_KERNEL)
    argv = (sys.executable, str(program), "-f", "{connection_file}")
    write_remote_spec(remote_home, "messages", *argv, interrupt_mode="message")
    local = {"interrupt_mode": mode}
    write_spec("remote", sshd, spec=local, remote_kernel_name="messages")
    with started("remote") as (manager, client):
        assert interrupt(manager, client, "wait")["user_expressions"] == {"told": "told"}


@pytest.mark.parametrize("mode", MODES)
def test_bash(sshd: Sshd, remote_home: Path, mode: str) -> None:
    """It knows only signals, and no message of that kind."""
    argv = (sys.executable, "-m", "bash_kernel", "-f", "{connection_file}")
    write_remote_spec(remote_home, "bash", *argv)
    write_spec("remote", sshd, spec={"interrupt_mode": mode}, remote_kernel_name="bash")
    with started("remote") as (manager, client):
        assert run_code(client, "echo $((6 * 7))") == "42\n"
        # By the program itself: between two, bash may overlook an interrupt.
        interrupt(manager, client, "sh -c 'echo begun; exec sleep 3600'")
        assert run_code(client, "echo again") == "again\n"


@pytest.mark.skipif(
    shutil.which("R") is None, reason="there is no R here (apt-get install r-cran-irkernel)"
)
@pytest.mark.parametrize("mode", MODES)
def test_r(sshd: Sshd, mode: str) -> None:
    """IRkernel from Debian, found by its kernelspec in /usr/share."""
    spec = {"interrupt_mode": mode}
    write_spec("remote", sshd, spec=spec, remote_kernel_name="ir", launch_timeout=60)
    with started("remote") as (manager, client):
        assert run_code(client, "cat(6 * 7)") == "42"
        code = "cat('begun'); flush.console(); for (i in 1:36000) Sys.sleep(0.1)"
        interrupt(manager, client, code)
        # It may overlook what comes right after an interrupt, as a local one does, until more
        # comes: this asks until it answers.
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "cat('again')") == "again"
