"""Rows for ports: downloads through `sshpyk port`, and through a bare `ssh -L` to the same port."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sshpyk.agent.kernel import free_ports
from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd

from . import measures
from .links import through_link
from .places import ours, relay
from .rows import FAR, Row

MEGABYTES = 400

#: A process that sends as many megabytes as it is asked for, on each connection.
SERVE = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
piece = bytes(1000000)
def serve(sock):
    with sock:
        try:
            for _ in range(int(sock.recv(100))):
                sock.sendall(piece)
        except OSError:
            pass
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def _process(words: list[str]) -> Iterator[str]:
    """A program that stays; its first line."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.terminate()


@contextlib.contextmanager
def _served() -> Iterator[int]:
    with _process([sys.executable, "-c", SERVE]) as line:
        yield int(line)


@contextlib.contextmanager
def _by_sshpyk(server: Sshd, port: int) -> Iterator[int]:
    words = ["port", server.host, str(port), "--local", "0", "--json"]
    words += ["--ssh-config", str(server.ssh_config)]
    with _process([sys.executable, "-m", "sshpyk.cli", *words]) as line:
        yield json.loads(line)["local"]


@contextlib.contextmanager
def _by_ssh(server: Sshd, port: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        local: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="b-", dir="/tmp") as directory:
        words = ["ssh", "-F", str(server.ssh_config), "-S", str(Path(directory) / "c")]
        forward = ["-L", f"127.0.0.1:{local}:127.0.0.1:{port}"]
        subprocess.run([*words, "-M", "-f", "-N", *forward, server.host], check=True)
        try:
            yield local
        finally:
            leave = [*words, "-O", "exit", server.host]
            subprocess.run(leave, check=True, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def _by_relays(server: Sshd, port: int) -> Iterator[int]:
    """The same with one more process at each end, which only copies: the floor of ours."""
    here, there = free_ports(2)
    with (
        relay([there], [port]),
        _by_ssh(server, there) as middle,
        relay([here], [middle]),
    ):
        yield here


def _download(port: int, megabytes: int) -> float:
    """Bytes a second."""
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(str(megabytes).encode())
        buffer = bytearray(1 << 20)
        received = 0
        while size := sock.recv_into(buffer):
            received += size
    if received != megabytes * 1_000_000:
        raise RuntimeError(f"{received} bytes arrived")
    return received / (time.perf_counter() - begun)


def _throughput(server: Sshd, what: str, *, relays: bool = False) -> Row:
    with _served() as port:
        ways = {"ours": _by_sshpyk, "ssh": _by_ssh}
        if relays:
            ways["relays"] = _by_relays
        speeds: dict[str, float] = {}
        for name, way in ways.items():
            with way(server, port) as local:
                _download(local, 10)  # the first brings the stream its carriers
                speeds[name] = _download(local, MEGABYTES)
    here, floor = speeds["ours"], speeds["ssh"]
    ratio = here / floor
    text = f"{ratio:.2f} × ({here / 1e6:.0f} MB/s, ssh -L {floor / 1e6:.0f} MB/s"
    if relays:
        text += f", relays {speeds['relays'] / floor:.2f} ×"
    return Row(what, "≥ 0.8 × ssh -L", ratio, ratio >= 0.8, text + ")", speeds)


def throughput(server: Sshd) -> Row:
    return _throughput(server, f"{MEGABYTES} MB through a port", relays=True)


def throughput_far(server: Sshd) -> Row:
    with through_link(server) as link:
        link.set_delay(FAR)
        return _throughput(server, f"{MEGABYTES} MB through a port, 50 ms")


def round_trip(server: Sshd) -> Row:
    """A kernel's replies while a browser's six downloads fill the link."""
    with (
        through_link(server) as link,
        _served() as port,
        ours(server) as kernel,
        _by_sshpyk(server, port) as local,
        contextlib.ExitStack() as stack,
    ):
        link.set_rate(20_000_000)
        link.set_delay(FAR)
        before = measures.round_trips([kernel.client], 10)[0]
        words = [sys.executable, "-c", DOWNLOAD, str(local)]
        for _ in range(6):
            stack.enter_context(_process(words))
        time.sleep(2.0)  # until they have found what the link takes
        during = measures.round_trips([kernel.client], 20)[0]
        link.set_rate(0)
    more = during - before
    return Row(
        "a kernel's reply during six downloads at 20 MB/s, 50 ms",
        "≤ + 0.3 s",
        more,
        more <= 0.3,
        f"+ {more:.2f} s ({during:.2f} s, before {before:.2f} s)",
        {"during": during, "before": before},
    )


#: A program that downloads from a local port and tells when it has begun.
DOWNLOAD = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"100000")
sock.recv(1)
print("begun", flush=True)
while sock.recv(1 << 20):
    pass
"""
