"""A real Dask dashboard and a real TensorBoard, opened as they were printed, through an outage.

SSHPYK_DASHBOARDS is the path of a Python that has both, and ipykernel:

    python -m venv VENV && VENV/bin/pip install ipykernel distributed bokeh tensorboard setuptools
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import urllib.request

import pytest
from tornado.websocket import websocket_connect

from sshpyk.remotekernel import OpenPort
from tests.lab.kernels import PATIENCE, link_of, run_code, started, write_spec
from tests.lab.sshd import Sshd

PYTHON = os.environ.get("SSHPYK_DASHBOARDS", "")

pytestmark = [
    pytest.mark.sshd,
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON, reason="SSHPYK_DASHBOARDS names no Python with Dask and TensorBoard"
    ),
]

DASK = """
from dask.distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
client = Client(cluster)
print(cluster.dashboard_link)
"""

TENSORBOARD = """
import os, sys, tempfile
os.environ["TENSORBOARD_BINARY"] = os.path.join(os.path.dirname(sys.executable), "tensorboard")
from tensorboard.summary.writer.event_file_writer import EventFileWriter
EventFileWriter(logs := tempfile.mkdtemp()).close()
get_ipython().run_line_magic("load_ext", "tensorboard")
get_ipython().run_line_magic("tensorboard", f"--logdir {logs} --port 0")
"""


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


def test_both_live_through_an_outage(linked_sshd: Sshd) -> None:
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd, remote_python=PYTHON)
    with started("remote") as (manager, client):
        seen: queue.Queue[tuple[OpenPort, ...]] = queue.Queue()
        link_of(manager).subscribe(lambda status: seen.put(status.ports))

        def opened(number: int) -> str:
            """The URL of the port that was opened as the so many-th."""
            while len(ports := seen.get(timeout=PATIENCE)) < number:
                pass
            return ports[number - 1].url

        run_code(client, DASK)
        dask = opened(1)
        assert dask.endswith("/status")
        page = fetch(dask)
        token = re.search(r'"token":"([^"]+)"', page)
        assert token is not None, page[:2000]
        run_code(client, TENSORBOARD)
        board = opened(2)
        assert "<title>TensorBoard</title>" in fetch(board)

        async def converse() -> list[str]:
            """Ask the dashboard on one websocket, before an outage, after it, and after another."""
            types = []
            url = dask.replace("http", "ws") + "/ws"
            socket = await websocket_connect(url, subprotocols=["bokeh", token[1]])
            for number in range(3):
                asked = {"msgid": str(number), "msgtype": "PULL-DOC-REQ"}
                for part in (asked, {}, {}):
                    await socket.write_message(json.dumps(part))
                while True:
                    told = await asyncio.wait_for(socket.read_message(), PATIENCE)
                    assert told is not None, "the websocket has ended"
                    if isinstance(told, str) and f'"reqid":"{number}"' in told.replace(" ", ""):
                        types.append(json.loads(told)["msgtype"])
                        break
                link.cut()
            socket.close()
            while await asyncio.wait_for(socket.read_message(), PATIENCE) is not None:
                pass
            return types

        assert asyncio.run(converse()) == 3 * ["PULL-DOC-REPLY"]
        link.cut()
        assert "<title>TensorBoard</title>" in fetch(board)
        assert json.loads(fetch(board + "data/environment"))["data_location"]
