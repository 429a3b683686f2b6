"""`sshpyk port`: for a kernel and for a host, what is open, and what is wrong with a call."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from sshpyk.remotekernel import State
from tests.cli.conftest import Call, sshpyk
from tests.cli.test_described import check_all
from tests.lab.kernels import PATIENCE, left_behind
from tests.ports.conftest import Serving
from tests.ports.servers import port_command

__all__ = ["sshpyk"]

pytestmark = pytest.mark.sshd


def said_through(local: int) -> bytes:
    with socket.create_connection(("127.0.0.1", local), PATIENCE) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(100)


def test_a_port_of_a_kernel(serving: Serving, card: str, sshpyk: Call) -> None:
    id = serving.link.agent.id
    port = str(serving.ports["half"])
    with port_command(id[:8], port, "--local", "0") as (process, opened):
        assert opened["target"] == port
        assert said_through(opened["local"]) == b"I have heard 5 bytes"
        result = sshpyk("port", "--list", "--json")
        check_all(result.out, "port")
        (listed,) = result.json
        assert listed == {**opened, "connections": 0}
        assert (listed["pid"], listed["kernel"]) == (process.pid, id)
        table = sshpyk("port", "--list").out
        assert f"localhost:{opened['local']}" in table
        assert sshpyk("port", "--close", str(opened["local"])).out.endswith(": closed\n")
        assert process.wait(PATIENCE) == 0
    assert sshpyk("port", "--list").err == "No ports are open.\n"
    assert serving.link.status.state is State.CONNECTED


def test_a_port_of_a_host_without_a_kernel(serving: Serving, sshpyk: Call, short_tmp: Path) -> None:
    words = ("--ssh-config", str(serving.server.ssh_config))
    before = left_behind(serving.home)
    name = f"{serving.server.host}"
    local = str(short_tmp / "local.sock")
    link = serving.server.link
    assert link is not None
    with port_command(name, serving.ports["unix"], "--local", local, *words) as (process, opened):
        assert opened["local"] == local
        rows = sshpyk("ps", name, "--json", *words).json
        assert sorted(row["kernelspec"] for row in rows) == ["ports", "python3"]
        link.cut()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(local)
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b"I have heard 5 bytes"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert not os.path.exists(local)
    assert left_behind(serving.home) == before


def test_mistakes(serving: Serving, card: str, sshpyk: Call) -> None:
    id = serving.link.agent.id[:8]
    for words, status, said in [
        ((), 2, "Which port, and of which kernel or host? Name both"),
        ((id,), 2, "Which port"),
        ((id, "0"), 2, "'0' is no port, and no path of a socket. Give a number"),
        ((id, "70000"), 2, "'70000' is no port"),
        ((id, "80", "--local", "x"), 2, "'x' is no port, and no path (./NAME)"),
        ((id, "80", "--local", "/no/such/directory/x"), 2, "/no/such/directory/x can't be opened"),
        (("nobody", "80"), 1, "There is no kernel 'nobody'"),
        (("--close", "1"), 2, "No port of sshpyk's is open at localhost:1."),
    ]:
        result = sshpyk("port", *words)
        assert result.status == status, result
        assert said in result.err.replace("\n", " "), result.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        local = taken.getsockname()[1]
        result = sshpyk("port", id, "80", "--local", str(local))
        assert result.status == 2
        assert "Address already in use. Another is free: --local " in result.err


def test_nobody_listens_there(serving: Serving, card: str) -> None:
    nobody = str(serving.ports["nobody"])
    id = serving.link.agent.id[:8]
    with port_command(id, nobody, "--local", "0") as (process, opened):
        with pytest.raises(ConnectionResetError):
            said_through(opened["local"])
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"sshpyk: Nothing listens on {nobody} of {serving.server.host}.")
