"""A small HTTP server that answers as a test says, for what real servers do too seldom."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Answer:
    """What it says: JSON, or what `body` gives piece by piece, with the connection's end behind."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()


@dataclass(frozen=True)
class Heard:
    """A request."""

    method: str
    path: str  # with the query
    authorization: str
    cookie: str
    content: Any  # what was sent: JSON, or a form as it came


@dataclass
class Scripted:
    """Where it listens, with a slash at the end, and what it has heard."""

    url: str
    heard: list[Heard] = field(default_factory=list)

    def paths(self, method: str) -> list[str]:
        """What was asked for by `method`."""
        return [one.path for one in self.heard if one.method == method]


@contextmanager
def scripted(answer: Callable[[Heard], Answer]) -> Iterator[Scripted]:
    """A server whose answers are what `answer` gives for each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(size)
            is_json = self.headers.get("Content-Type") == "application/json"
            content = json.loads(text) if is_json else text.decode()
            token, cookie = (self.headers.get(name, "") for name in ("Authorization", "Cookie"))
            heard = Heard(self.command, self.path, token, cookie, content)
            server.heard.append(heard)
            said = answer(heard)
            whole = json.dumps(said.content).encode()
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if not said.body:
                self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for piece in said.body or (whole,):
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_POST = do_DELETE = do_GET

        def log_message(self, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Scripted(f"http://127.0.0.1:{listening.server_port}/")
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def event(**content: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


#: What a server without any kernel says; the rest is for the test.
SPECS = {"kernelspecs": {"python3": {"name": "python3", "spec": {"display_name": "Python 3"}}}}
