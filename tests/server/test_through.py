"""Jupyter Servers of an ssh host: started and found there, reached through the link's streams."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.remotekernel import State
from tests.cli.conftest import Call, config_of, sshpyk, written
from tests.cli.test_described import check_all
from tests.lab.kernels import PATIENCE, run_code, started
from tests.lab.sshd import Sshd
from tests.server.servers import kernel_of
from tests.server.test_kernel import Follower, outputs_of, reply_to

__all__ = ["sshpyk"]

pytestmark = pytest.mark.sshd


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Sshd]:
    """A host behind a link, with a home of its own."""
    with Sshd(link=True, home=tmp_path) as host:
        yield host


def test_a_server_is_started_and_lives_through_outages(
    host: Sshd, tmp_path: Path, sshpyk: Call
) -> None:
    (tmp_path / "work").mkdir()
    place = ("--ssh-config", str(host.ssh_config), "--remote-python", sys.executable)
    nowhere = sshpyk("add", host.host, "--server", "nowhere", *place)
    assert nowhere.status == 1
    assert "There is no directory nowhere on sshd." in nowhere.err
    done = sshpyk("add", host.host, "python3", "--server", "work", *place, "--kernel-name", "far")
    try:
        assert done.status == 0, done.err
        assert f"({tmp_path}/work)" in done.err
        assert config_of("far")["server"] == "work"
        assert written("far")["display_name"] == "Python 3 @ sshd (Jupyter Server)"
        with started("far") as (manager, client):
            assert run_code(client, "import os; print(os.getcwd())") == f"{tmp_path}/work\n"
            # An outage of ssh in the midst of output: the websocket lives through it.
            follower = Follower(manager)
            code = (
                "import time\nfor n in range(200):\n    print(n, flush=True)\n    time.sleep(0.01)"
            )
            id = client.execute(code)
            while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
                pass
            assert host.link is not None
            away = threading.Thread(target=follower.until, args=(State.AWAY,))
            back = threading.Thread(target=follower.until, args=(State.CONNECTED,))
            host.link.refuse()
            away.start()
            host.link.cut()
            away.join(PATIENCE)
            back.start()
            host.link.accept()
            back.join(PATIENCE)
            assert reply_to(client, id)["status"] == "ok"
            text = "".join(c["text"] for t, c in outputs_of(client, id) if t == "stream")
            assert text == "".join(f"{n}\n" for n in range(1, 200))
            assert follower.kernel.status.gap is None
            # Another card finds the server that runs, by its port, and may attach to the kernel.
            through = kernel_of(manager).address.server.through
            assert through is not None
            port = through.wanted
            again = sshpyk(
                "add",
                host.host,
                "--server",
                port,
                *place,
                "--kernel-name",
                "same",
                "--kernel-id",
                kernel_of(manager).kernel_id,
            )
            assert again.status == 0, again.err
            with started("same") as (_, other):
                assert run_code(other, "print(n)") == "199\n"
        token = next((tmp_path / ".local/share/jupyter/runtime").glob("jpserver-*.json"))
        assert port in token.read_text()
    finally:
        listed = sshpyk("ps", host.host, "--ssh-config", str(host.ssh_config), "--json")
        for kernel in listed.json:
            sshpyk("stop", kernel["id"], "--host", host.host)
    assert [k["kernelspec"] for k in listed.json] == ["jupyter-server"]
    gone = sshpyk("add", host.host, "--server", port, *place)
    assert f"No Jupyter Server of yours runs on port {port} of sshd" in gone.err


def test_browse(host: Sshd, tmp_path: Path, own_jupyter: Path, sshpyk: Call) -> None:
    options = ("--ssh-config", str(host.ssh_config), "--remote-python", sys.executable)
    words = [sys.executable, "-m", "sshpyk.cli", "browse", host.host, ".", *options, "--no-open"]
    browsing = subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert browsing.stdout is not None
        line = browsing.stdout.readline()
        check_all(line, "browse")
        told = json.loads(line)
        assert told["directory"] == str(tmp_path)
        # The token is in a file of this user's alone, which leads a browser there.
        page = Path(told["page"])
        assert page.stat().st_mode & 0o077 == 0
        found = re.search(r'url=([^"]+)', page.read_text())
        assert found is not None
        assert "token=" not in told["url"]
        with urllib.request.urlopen(found[1], timeout=PATIENCE) as answer:
            assert b"jupyter" in answer.read().lower()
        assert host.link is not None
        host.link.cut()
        status = f"{told['url']}api/status?{found[1].partition('?')[2]}"
        with urllib.request.urlopen(status, timeout=PATIENCE) as answer:
            assert json.load(answer)["kernels"] == 0
        # It is found by who looks for one.
        port = str(told["port"])
        other = sshpyk("browse", host.host, port, *options, "--stop")
        assert other.status == 0, other.err
        assert browsing.wait(PATIENCE) == 1, "it says that the server has ended"
        assert not page.exists()
    finally:
        browsing.send_signal(signal.SIGINT)
        browsing.wait(PATIENCE)
        browsing.stdout.close()  # type: ignore[union-attr]  # it is a pipe
    none = sshpyk("browse", host.host, *options, "--stop")
    assert "none runs" in none.err
    page_only = sshpyk("browse", "https://h.org/user/me/lab?token=s3cret", "--no-open")
    assert page_only.out == "https://h.org/user/me/\n"
