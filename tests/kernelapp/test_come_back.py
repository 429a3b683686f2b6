"""A job that was left is found further on: by a new Jupyter Server, by nbclient, by others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshpyk.agent.kernel import free_ports
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, run_code, started, write_spec
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd

COUNT = """
import os, time
number = 0
while not os.path.exists({path!r}):
    number += 1
    print("line", number, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def nothing_left(sshd: Sshd) -> Iterator[None]:
    """No test finds the session of another."""
    yield
    subprocess.run([sys.executable, "-m", "sshpyk.cli", "stop", "--all"], timeout=PATIENCE)


def stop(name: str) -> None:
    argv = [sys.executable, "-m", "sshpyk.cli", "stop", name]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_session_outlives_the_jupyter_server(sshd: Sshd, tmp_path: Path, end: str) -> None:
    write_spec("remote", sshd, session="work")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    enough = tmp_path / "enough"
    with Server(tmp_path / "one") as server:
        kernel = server.start_kernel("remote")
        with server.connect(kernel) as notebook:
            notebook.run("here = 'still'")
            content = {"code": COUNT.format(path=str(enough)), "silent": False}
            notebook.send("shell", "execute_request", {**content, "store_history": True})
            notebook.until(lambda message: "line 5\n" in str(message["content"].get("text")))
            if end == "kill":
                os.kill(server.pid, signal.SIGKILL)
    # It would wait a minute for the busy kernel's answer before it lets a notebook in.
    with Server(tmp_path / "two", "--MappingKernelManager.kernel_info_timeout=2") as server:
        kernel = server.start_kernel("remote")
        with server.connect(kernel) as notebook:
            # It goes on, and is seen to.
            said = notebook.until(lambda message: message["msg_type"] == "stream")
            found = re.search(r"line (\d+)", said["content"]["text"])
            assert found is not None
            assert int(found[1]) > 5
            enough.touch()
            assert notebook.run("print(here)").text == "still\n"
            other = server.start_kernel("remote")  # a second notebook of the same session
            with server.connect(other) as second:
                second.run("shared = number")
                assert notebook.run("print(shared == number)").text == "True\n"
            server.shut_down(other)
            assert notebook.run("print(here)").text == "still\n"
    stop("work")


def test_nbclient_comes_back(sshd: Sshd, tmp_path: Path) -> None:
    write_spec("remote", sshd, session="work")
    from nbclient import NotebookClient
    from nbformat import from_dict

    for source, text in (("here = 6 * 7", None), ("print(here)", "42\n")):
        cell: dict[str, Any] = {
            "cell_type": "code",
            "source": source,
            "metadata": {},
            "outputs": [],
            "id": "one",
        }
        content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        cell["execution_count"] = None
        notebook: Any = from_dict(content)  # type: ignore[no-untyped-call]  # it has no types
        NotebookClient(notebook, kernel_name="remote", timeout=PATIENCE).execute()
        if text is not None:
            assert notebook.cells[0].outputs[0]["text"] == text
    stop("work")


def test_a_plain_kernel_can_not_join_a_session_and_says_so(sshd: Sshd, tmp_path: Path) -> None:
    write_spec("remote", sshd, session="work")
    with started("remote") as (manager, client):
        run_code(client, "pass")
        mine = tmp_path / "connection.json"
        info: dict[str, Any] = {**manager.get_connection_info(), "key": "another"}
        ports = [name for name in info if name.endswith("_port")]
        info.update(zip(ports, free_ports(len(ports)), strict=True))
        mine.write_text(json.dumps(info))
        argv = [sys.executable, "-m", "sshpyk.kernelapp", "--kernel=remote"]
        argv += [f"--connection-file={mine}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 2
        assert "key of its own" in done.stderr
        run_code(client, "pass")
    stop("work")
