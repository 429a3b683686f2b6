"""Requests below /sshpyk: whom they let in, and what they tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from http.client import HTTPConnection
from importlib.metadata import distribution
from typing import Any

import pytest
import websocket

import sshpyk
from sshpyk.lab.events import SCHEMA
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd

REQUESTS = [
    ("GET", "kernels"),
    ("POST", "kernels/0/retry"),
    ("GET", "logins"),
    ("POST", "logins"),
    ("POST", "logins/0"),
    ("DELETE", "logins/0"),
    ("POST", "kernels/0/measure"),
    ("POST", "kernels/0/seeing"),
    ("POST", "kernels/0/collect"),
    ("GET", "cards"),
    ("POST", "cards/0"),
    ("DELETE", "cards/0"),
    ("POST", "looks"),
    ("POST", "looks/0/add"),
    ("POST", "hosts"),
    ("POST", "hosts/kernels/0/stop"),
    ("POST", "hosts/kernels/0/attach"),
]

#: What a request gets that is let in; there is no kernel and no login 0.
EXPECTED = {
    ("GET", "kernels"): (200, ""),
    ("GET", "logins"): (200, ""),
    ("GET", "cards"): (200, ""),
    ("DELETE", "cards/0"): (200, ""),  # with an error as the command has it
    ("POST", "kernels/0/retry"): (404, "there is no such "),
    ("POST", "kernels/0/measure"): (404, "there is no such "),
    ("POST", "logins/0"): (404, "there is no such "),
    ("DELETE", "logins/0"): (404, "there is no such "),
}
INCOMPLETE = (400, "an object is expe")


def ask(server: Server, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """A request below /sshpyk with just these headers: the status, and what is said of it."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, f"/sshpyk/{path}", headers=dict(headers))
        response = connection.getresponse()
        answer = json.loads(response.read())
        return response.status, answer.get("message", "") if isinstance(answer, dict) else ""


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_strangers_can_do_nothing(server: Server, method: str, path: str) -> None:
    assert ask(server, method, path, {})[0] == 403
    other = {"Authorization": "token " + 32 * "0"}
    assert ask(server, method, path, other)[0] == 403


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_another_site_can_do_nothing_with_the_users_cookie(
    server: Server, method: str, path: str
) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", f"/tree?token={server.token}")
        cookies = [
            value.split(";")[0]
            for name, value in connection.getresponse().getheaders()
            if name == "Set-Cookie"
        ]
    cookie = {"Cookie": "; ".join(cookies)}
    strange = {**cookie, "Origin": "http://evil.example", "Referer": "http://evil.example/"}
    assert ask(server, method, path, strange)[0] in (403, 404)
    if method != "GET":
        assert ask(server, method, path, cookie)[0] == 403
    # It is these checks that refuse it: the page itself may.
    (token,) = [value.partition("=")[2] for value in cookies if value.startswith("_xsrf=")]
    here = f"http://127.0.0.1:{server.port}"
    own = {**cookie, "Origin": here, "Referer": f"{here}/lab", "X-XSRFToken": token}
    status, said = ask(server, method, path, own)
    assert (status, said[:17]) == EXPECTED.get((method, path), INCOMPLETE)


def test_states_are_told_as_they_change(server: Server, sshd: Sshd) -> None:
    assert sshd.link is not None
    url = f"ws://127.0.0.1:{server.port}/api/events/subscribe"
    header = [f"Authorization: token {server.token}"]
    events = websocket.create_connection(url, PATIENCE, header=header)

    def until(state: str) -> dict[str, Any]:
        while True:
            event = json.loads(events.recv())
            if event["schema_id"] == SCHEMA and event["kernel"]["state"] == state:
                told: dict[str, Any] = event["kernel"]
                return told

    with contextlib.closing(events):
        kernel = server.start_kernel("remote")
        first = until("starting")
        assert (first["kernel_id"], first["host"]) == (kernel, "sshd")
        up = until("connected")
        status, answer = server.call("GET", "kernels", below="sshpyk")
        assert status == 200
        (now,) = [one for one in answer["kernels"] if one["kernel_id"] == kernel]
        assert now["state"] == "connected"
        assert now["number"] >= up["number"] > first["number"]
        assert now["key"] == first["key"]

        sshd.link.refuse()
        sshd.link.cut()
        until("away")
        sshd.link.accept()
        assert server.call("POST", f"kernels/{kernel}/retry", below="sshpyk") == (204, None)
        until("connected")

        server.shut_down(kernel)
        assert until("closed")["key"] == first["key"]
        assert server.call("GET", "kernels", below="sshpyk")[1]["kernels"] == []
        assert server.call("POST", f"kernels/{kernel}/retry", below="sshpyk")[0] == 404


def test_a_plain_install_is_enough() -> None:
    files = {str(path).rpartition("/../")[2]: path for path in distribution("sshpyk").files or ()}
    extension = "share/jupyter/labextensions/sshpyk"
    assert f"{extension}/static/entry.js" in files
    assert "etc/jupyter/jupyter_server_config.d/sshpyk.json" in files
    package = json.loads(files[f"{extension}/package.json"].read_text())
    assert package["version"] == sshpyk.__version__
