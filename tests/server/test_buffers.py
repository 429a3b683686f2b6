"""Large buffers and a real widget's, on both ways over a real Jupyter Server."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, run_code, started
from tests.server.servers import remote, write_card
from tests.server.test_carried import get_echo
from tests.server.test_kernel import reply_to

#: Bytes of a large buffer. Servers take messages of 10 MiB, and send longer ones.
LARGE = 50 << 20

#: A picture, of which each byte occurs in its value.
WIDGET = """
import ipywidgets
image = ipywidgets.Image(value=bytes(range(256)) * 300, format="png")
"""

#: Sends a large buffer, and says what it is.
SEND = f"""
import comm, hashlib, os
data = os.urandom({LARGE})
print(hashlib.sha256(data).hexdigest(), flush=True)
comm.create_comm(target_name="large", data={{}}, buffers=[data])
"""


def next_of(client: BlockingKernelClient, type: str) -> dict[str, Any]:
    """The next message on iopub of that type."""
    while (message := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != type:
        pass
    return message


@pytest.mark.parametrize("way", ["plain", "carried"])
def test_a_widgets_bytes(far: Server, url: str, way: str) -> None:
    """They are a buffer of its state, from the kernel when it is made and changed, and to it when
    a page sends a value."""
    write_card("far", url, server_way=way)
    with started("far") as (_, client):
        client.execute(WIDGET)
        while True:
            opened = next_of(client, "comm_open")
            state = opened["content"]["data"]["state"]
            if state["_model_name"] == "ImageModel":
                break
        assert opened["content"]["data"]["buffer_paths"] == [["value"]]
        assert [bytes(buffer) for buffer in opened["buffers"]] == [bytes(range(256)) * 300]
        id = opened["content"]["comm_id"]
        value = os.urandom(1 << 20)
        data = {"method": "update", "state": {}, "buffer_paths": [["value"]]}
        message = client.session.msg("comm_msg", {"comm_id": id, "data": data})
        client.session.send(client.shell_channel.socket, message, buffers=[value])
        digest = "import hashlib; print(hashlib.sha256(image.value).hexdigest())"
        assert run_code(client, digest).strip() == hashlib.sha256(value).hexdigest()
        client.execute("image.value = bytes(image.value)[::-1]")
        while (update := next_of(client, "comm_msg"))["content"]["data"]["method"] != "update":
            pass  # the page's own update comes back as an echo
        assert update["content"]["comm_id"] == id
        assert [bytes(buffer) for buffer in update["buffers"]] == [value[::-1]]


def test_a_large_buffer_each_way_plain(
    far: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An ordinary server sends it whole. It takes none so long, and what becomes of it is said."""
    write_card("far", url)
    with started("far") as (manager, client):
        manager.log.propagate = True
        client.execute(SEND)
        digest = next_of(client, "stream")["content"]["text"].strip()
        (buffer,) = next_of(client, "comm_open")["buffers"]
        assert len(buffer) == LARGE
        assert hashlib.sha256(buffer).hexdigest() == digest
        with caplog.at_level(logging.WARNING):
            message = client.session.msg("execute_request", {"code": "x = 1", "silent": False})
            client.session.send(client.shell_channel.socket, message, buffers=[bytes(LARGE)])
            reply = reply_to(client, message["header"]["msg_id"])
        assert reply["ename"] == "ConnectionLost"
        said = [r.getMessage() for r in caplog.records if "too long" in r.getMessage()]
        assert len(said) == 1
        assert run_code(client, "print('x' in globals(), len(data))") == f"False {LARGE}\n"


def test_a_server_that_takes_large_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option is the one that docs/servers.rst names."""
    option = "--ServerApp.tornado_settings={'websocket_max_message_size':100000000}"
    with remote(tmp_path, option) as server:
        monkeypatch.setenv("SERVER_TOKEN", server.token)
        write_card("far", f"http://127.0.0.1:{server.port}/")
        with started("far") as (_, client):
            buffer = os.urandom(LARGE)
            assert get_echo(client, buffer) == buffer
