"""Starts that take a person, or that fail, in a real browser; and a death that Jupyter leaves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Notebook, words
from tests.jupyter.server import Server
from tests.lab.accounts import PasswordHost, needs_root
from tests.lab.kernels import write_card, write_spec
from tests.lab.sshd import Sshd
from tests.starts.test_kernels import install

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.sshd


@pytest.fixture(scope="module")
def server(sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that starts no dead kernel again by itself."""
    with Server(tmp_path_factory.mktemp("work"), "--KernelManager.autorestart=False") as server:
        yield server


#: JupyterLab 4.6 reads `this._session.kernel` at the end of `changeKernel`, where its own look at
#: the sessions may have disposed of that of the start that failed.
LABS_OWN = "Cannot read properties of null (reading 'kernel')"

#: What a login asks in turn, by how the host wants it.
LOGINS = {
    "password": ("password", ["'s password:"]),
    "two-factor": ("password,keyboard-interactive", ["'s password:", "Password:"]),
}


@pytest.mark.skipif(
    shutil.which("R") is None, reason="there is no R here (apt-get install r-cran-irkernel)"
)
@pytest.mark.parametrize("kind", LOGINS)
def test_a_password_host(browser: Browser, server: Server, kind: str, tmp_path: Path) -> None:
    """The kernel is R's, for that is where any account may run it."""
    needs_root()
    methods, questions = LOGINS[kind]
    options = (f"AuthenticationMethods {methods}", "PasswordAuthentication yes", "UsePAM yes")
    host = PasswordHost(*options)
    try:
        place = {"ssh_host_alias": "login", "ssh_config": host.config}
        python = {"remote_python": "/usr/bin/python3", "remote_kernel_name": "ir"}
        write_card(kind, spec={"language": "R"}, **place, **python)
        with Notebook(browser, server, f"{kind}.ipynb", kind, "cat(6 * 7)") as notebook:
            chip = notebook.wait_for("login")
            chip.get_by_role("button", name="Log in").click()
            for question in questions:
                dialog = notebook.dialog().filter(has_text=question)
                dialog.wait_for()
                answer = dialog.locator("input.sshpyk-answer")
                assert answer.get_attribute("type") == "password"
                answer.fill(host.password)
                notebook.page.keyboard.press("Enter")
                dialog.wait_for(state="detached")
            notebook.wait_for("connected")  # by itself
            notebook.no_notice("needs you to log in")
            notebook.run()
            notebook.output("42")
            assert notebook.errors == []
        for kernel in server.call("GET", "kernels")[1]:
            if kernel["name"] == kind:
                server.shut_down(kernel["id"])
        assert host.password not in server.log.read_text()
    finally:
        host.close()


def test_a_start_that_fails(
    browser: Browser, server: Server, sshd: Sshd, remote_home: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    argv = (str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}")
    install(remote_home, "missing", *argv)
    write_spec("fails", sshd, remote_kernel_name="missing")
    with Notebook(browser, server, "fails.ipynb", "fails", "print(6 * 7)") as notebook:
        dialog = notebook.dialog()
        text = words(dialog)
        assert f"The kernelspec missing on sshd starts {python}, which can't be run: " in text
        assert "Install the kernel again there, or choose another `remote_kernel_name`." in text
        assert notebook.chip.count() == 0
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o700)
        dialog.get_by_role("button", name="Ok").click()
        # Lab asks which kernel it is to be then, and proposes this one.
        dialog = notebook.dialog().filter(has_text="Select Kernel")
        dialog.get_by_role("button", name="Select").click()
        notebook.wait_for("connected")
        notebook.run()
        notebook.output("42\n")
        assert set(notebook.errors) <= {LABS_OWN}


def test_a_kernel_that_is_started_again(browser: Browser, server: Server) -> None:
    code = "import os; os._exit(3)"
    with Notebook(browser, server, "again.ipynb", "remote", code) as notebook:
        notebook.wait_for("connected")
        notebook.run()
        notice = notebook.notice("The kernel on sshd died: exit status 3")
        notebook.wait_for("died")
        notice.get_by_role("button", name="Restart").click()
        notebook.wait_for("connected")
        notebook.type("import os; print('works', 6 * 7)")
        notebook.output("works 42\n")

        # Once it was started again by somebody else, that is asked about.
        notebook.type("os._exit(4)")
        notice = notebook.notice("The kernel on sshd died: exit status 4")
        (kernel,) = [k["id"] for k in server.call("GET", "kernels")[1] if k["name"] == "remote"]
        server.act(kernel, "restart")
        notebook.wait_for("connected")
        notebook.type("precious = 7")
        notice.get_by_role("button", name="Restart").click()
        notebook.dialog().get_by_role("button", name="Cancel").click()
        notebook.type("print('still', 6 * precious)")
        notebook.output("still 42\n")
        assert notebook.errors == []
