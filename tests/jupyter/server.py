"""A Jupyter Server in a process of its own, and what a browser does with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import websocket

from tests.lab.daemon import Daemon
from tests.lab.kernels import PATIENCE

#: For PYTHONPATH: what is there costs each process a second, and shows nothing.
ABSENT = str(Path(__file__).parents[1] / "lab" / "absent")


#: The Python whose Jupyter it is: another environment's, for other versions of JupyterLab or of
#: Jupyter Server.
PYTHON = os.environ.get("SSHPYK_JUPYTER", sys.executable)


def ask(port: int, method: str, path: str, token: str, content: object = None) -> tuple[int, Any]:
    """One request to a server on loopback, with JSON: the status and the answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(connection):
        headers = {"Authorization": f"token {token}"}
        body = None if content is None else json.dumps(content)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None


class Server(Daemon):
    """A server on a free loopback port, with the environment's Jupyter directories.

    `options` are for its command line, `env` are more variables for it and its kernels. Gives
    `pid`, `port`, `token`, and `log`, what it says.
    """

    def __init__(self, root: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.token = secrets.token_hex(16)
        bases = [word.partition("base_url=")[2] for word in options if "base_url=" in word]
        self._base = bases[0] if bases else "/"
        self.port = 0
        port = 0
        if sys.executable != PYTHON:  # an old one does not tell which port it has taken for 0
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        command = [PYTHON, "-m", "jupyter_server", "--ip=127.0.0.1", f"--port={port}"]
        command += ["--no-browser", "--allow-root", f"--ServerApp.root_dir={root}", *options]
        own = {"JUPYTER_TOKEN": self.token, "PYTHONPATH": ABSENT, **(env or {})}
        super().__init__(
            command, env={**os.environ, **own}, log=root / "server.log", is_up=self._hear
        )
        try:
            while not self._answers():  # it says so before it listens
                assert self.is_alive, self.log.read_text()
        except BaseException:
            self.close()
            raise

    def _hear(self, line: str) -> bool:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if found:
            self.port = int(found[1])
        return found is not None

    def _answers(self) -> bool:
        try:
            return self.call("GET", "status")[0] == 200
        except ConnectionRefusedError:
            return False

    def url(self, path: str) -> str:
        """The address of a page, for who may see it."""
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def call(
        self, method: str, path: str, content: object = None, *, below: str = "api"
    ) -> tuple[int, Any]:
        """One request below /api: the status and the answer."""
        return ask(self.port, method, f"{self._base}{below}/{path}", self.token, content)

    def start_kernel(self, name: str, **model: Any) -> str:
        """Start a kernel; its id."""
        status, answer = self.call("POST", "kernels", {"name": name, **model})
        assert status == 201, answer
        identifier: str = answer["id"]
        return identifier

    def act(self, kernel: str, action: str) -> None:
        """ "interrupt" or "restart" a kernel."""
        status, answer = self.call("POST", f"kernels/{kernel}/{action}")
        assert status in (200, 204), answer

    def shut_down(self, kernel: str) -> None:
        """Shut a kernel down."""
        status, answer = self.call("DELETE", f"kernels/{kernel}")
        assert status == 204, answer

    def connect(self, kernel: str) -> Notebook:
        """A notebook that is open on a kernel."""
        session = uuid.uuid4().hex
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels?session_id={session}"
        header = [f"Authorization: token {self.token}"]
        return Notebook(websocket.create_connection(url, PATIENCE, header=header), session)


@dataclass
class Cell:
    """What came of a cell: the reply's content, and the outputs' types and contents in order."""

    reply: dict[str, Any] = field(default_factory=dict)
    outputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What it printed."""
        return "".join(content["text"] for type, content in self.outputs if type == "stream")


class Notebook:
    """One websocket to a kernel's channels."""

    def __init__(self, socket: websocket.WebSocket, session: str) -> None:
        self._socket = socket
        self._session = session

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, channel: str, type: str, content: dict[str, Any]) -> str:
        """Send a message; its id."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": type,
            "session": self._session,
            "username": "tester",
            "version": "5.3",
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps({**message, "channel": channel, "buffers": []}))
        return header["msg_id"]

    def receive(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(self._socket.recv())
        return message

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to the first message that is `wanted`."""
        while not wanted(message := self.receive()):
            pass
        return message

    def run(
        self, code: str, *, answer: str | None = None, on_text: Callable[[str], None] | None = None
    ) -> Cell:
        """Run a cell to its end: its reply, and the kernel idle again.

        `answer` is what the user types when asked; `on_text` is called with what is printed.
        """
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
        sent = self.send("shell", "execute_request", {**content, "allow_stdin": True})
        cell = Cell()
        is_idle = False
        while not (is_idle and cell.reply):
            message = self.receive()
            if message["parent_header"].get("msg_id") != sent:
                continue
            type, content = message["msg_type"], message["content"]
            if type == "execute_reply":
                cell.reply = content
            elif type == "input_request":
                assert answer is not None, content
                self.send("stdin", "input_reply", {"value": answer})
            elif type == "status":
                is_idle = content["execution_state"] == "idle"
            elif type != "execute_input":
                cell.outputs.append((type, content))
                if type == "stream" and on_text is not None:
                    on_text(content["text"])
        return cell
