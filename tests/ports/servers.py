"""What kernels serve in these tests, and what is asked of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from sshpyk.link.link import Link
from sshpyk.link.ports import LocalPort
from sshpyk.link.thread import io_thread
from sshpyk.wire.ports import Target
from tests.lab.kernels import PATIENCE

#: Runs in a kernel: servers of this process on loopback, and their ports as JSON. GET /N gives N
#: bytes, GET /endless never ends. "half" answers only when its client has ended its direction.
SERVE = """
import http.server, json, os, socket, socketserver, threading

class Bytes(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        left = float("inf") if self.path == "/endless" else int(self.path[1:])
        self.send_response(200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(left))
        self.end_headers()
        while left > 0:
            piece = bytes(range(256)) * 256
            self.wfile.write(piece[: int(min(left, len(piece)))])
            left -= len(piece)
    def log_message(self, *args):
        pass

class Half(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"I have heard %d bytes" % len(self.rfile.read()))

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)

class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass

path = os.path.join(os.environ["SOCKETS"], "half.sock")
servers = {
    "http": http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bytes),
    "half": socketserver.ThreadingTCPServer(("127.0.0.1", 0), Half),
    "echo": socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo),
    "unix": Unix(path, Half),
}
servers["v6"] = type("V6", (socketserver.ThreadingTCPServer,), {"address_family": socket.AF_INET6})(
    ("::1", 0), Half
)
for server in servers.values():
    threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.socket() as nobody:
    nobody.bind(("127.0.0.1", 0))
    ports = {name: server.server_address[1] for name, server in servers.items() if name != "unix"}
    print(json.dumps({**ports, "unix": path, "nobody": nobody.getsockname()[1]}))
"""


def open_port(link: Link, target: str | int, local: int | str | None = 0) -> LocalPort:
    """Open a port through a link."""

    async def work() -> LocalPort:
        return link.open_port(Target.parse(str(target)), local)

    return io_thread().submit(work()).result(PATIENCE)


def connect(port: LocalPort) -> socket.socket:
    """A connection to a local port."""
    if isinstance(port.local, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(port.local)
    else:
        sock = socket.create_connection(("127.0.0.1", port.local))
    sock.settimeout(PATIENCE)
    return sock


def read_all(sock: socket.socket) -> bytes:
    """What comes until the other side has ended."""
    data = b""
    while piece := sock.recv(1 << 20):
        data += piece
    return data


def get(port: LocalPort, path: str, sock: socket.socket | None = None) -> bytes:
    """GET `path`, and the body."""
    with sock or connect(port) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


def pattern(size: int) -> bytes:
    """What `/size` answers."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@contextlib.contextmanager
def port_command(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`sshpyk port` with these words, and what its --json says; ended after as by Ctrl+C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sshpyk.cli", "port", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, json.loads(line)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.stdout.close()
            process.stderr.close()
