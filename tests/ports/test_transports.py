"""Ports over every way to a host, each through an outage."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from tests.lab.kernels import left_behind, link_of, run_code, started, write_card, write_spec
from tests.lab.sshd import Sshd
from tests.places.test_kernels import relay_pid
from tests.ports.servers import SERVE, connect, get, open_port, pattern, read_all

pytestmark = pytest.mark.sshd

#: What a server is told, and the kernelspec says, for each way.
SERVERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "tcp": (["AllowStreamLocalForwarding no"], {}),
    "relay": (["DisableForwarding yes"], {}),
    "paramiko": ([], {"ssh": "paramiko"}),
}


@contextlib.contextmanager
def way(name: str, home: Path) -> Iterator[Callable[[KernelManager], None]]:
    """A kernelspec "serving" for a way; what cuts it."""
    env = {"SOCKETS": str(home)}
    if name == "command":
        write_card("serving", via="env", env=env)
        yield lambda manager: os.kill(relay_pid(manager), signal.SIGKILL)
        return
    options, config = SERVERS[name]
    with Sshd(link=True, home=home, options=options) as server:
        link = server.link
        assert link is not None
        write_spec("serving", server, env=env, **config)

        def cut(manager: KernelManager) -> None:
            assert link.cut() > 0

        yield cut


@pytest.mark.parametrize("name", [*SERVERS, "command"])
def test_lives_through_an_outage(
    name: str, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(short_tmp))
    with way(name, short_tmp) as cut:
        with started("serving") as (manager, client):
            ports = json.loads(run_code(client, SERVE))
            link = link_of(manager)
            web, echo = open_port(link, ports["http"]), open_port(link, ports["echo"])
            size = 20_000_000
            with connect(web) as download, connect(echo) as talk:
                talk.sendall(b"before")
                assert talk.recv(100) == b"before"
                download.sendall(f"GET /{size} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
                first = download.recv(1000)
                cut(manager)
                talk.sendall(b"after")
                assert talk.recv(100) == b"after"
                body = (first + read_all(download)).partition(b"\r\n\r\n")[2]
                assert body == pattern(size)
                talk.shutdown(socket.SHUT_WR)
                assert talk.recv(100) == b""
            assert get(web, "/10") == pattern(10)
        assert left_behind(short_tmp) == []
