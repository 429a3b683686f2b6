"""Ports: another user's are refused on either side, and a host chooses little here."""

from __future__ import annotations

import asyncio
import glob
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.link import ports as local_ports
from sshpyk.link.link import Link
from sshpyk.wire.ports import BYTES, Target, record
from tests.lab.kernels import link_of, started, write_spec
from tests.lab.sshd import Sshd
from tests.link.test_link import lab, run
from tests.ports.servers import connect, open_port
from tests.security.conftest import Intruder

#: Listens at a port, or a path that is given, and answers everybody.
LISTEN = """
import os, socket, sys
if len(sys.argv) > 1:
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    os.chmod(sys.argv[1], 0o777)
    server.listen()
else:
    server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    try:
        server.accept()[0].sendall(b"welcome")
    except OSError:  # it has gone by now, as those do who refuse
        pass
"""


@pytest.fixture(scope="module")
def link(open_directory: Path) -> Iterator[Link]:
    """The link of a kernel of ours."""
    home = open_directory / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch, Sshd(home=home) as server:
        for variable in ("DATA", "RUNTIME"):
            patch.setenv(f"JUPYTER_{variable}_DIR", str(open_directory / variable))
        write_spec("mine", server)
        with started("mine") as (manager, _):
            yield link_of(manager)


@pytest.fixture(params=["port", "unix socket"])
def others(request: pytest.FixtureRequest, intruder: Intruder) -> Iterator[str]:
    """Where another user listens."""
    path = f"/tmp/sshpyk-others-{os.getpid()}.sock"
    arguments = [] if request.param == "port" else [path]
    with intruder.popen(LISTEN, *arguments) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        yield path if arguments else said
        process.kill()
    if arguments:
        os.unlink(path)


@pytest.mark.sshd
def test_another_users_port_on_the_host_is_not_reached(link: Link, others: str) -> None:
    port = open_port(link, others)
    with connect(port) as sock, pytest.raises(ConnectionResetError):
        sock.recv(10)
    assert isinstance(port.trouble, errors.NotYourPort)
    wanted = open_port(link, "any " + others)
    with connect(wanted) as sock:
        assert sock.recv(10) == b"welcome"


@pytest.mark.sshd
def test_another_user_here_gets_nothing_through_an_open_port(
    link: Link, intruder: Intruder, short_tmp: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = open_port(link, server.getsockname()[1])
        code = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as sock:
    try:
        print(sock.recv(10))
    except ConnectionResetError:
        print(b"")
"""
        assert intruder.run(code, port.local) == "b''"
        path = str(short_tmp / "local.sock")
        os.chmod(short_tmp, 0o755)
        open_port(link, server.getsockname()[1], path)
        lists = glob.glob(os.environ["XDG_RUNTIME_DIR"] + "/sshpyk/ports-*.sock")
        assert len(lists) == 1
        code = """
import socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print("connected to", path)
    except PermissionError:
        pass
"""
        assert intruder.run(code, path, *lists) == ""


def test_a_host_that_tells_of_any_number_of_urls(short_tmp: Path) -> None:
    """Few are opened, none at a number that is the system's, and a wrong one ends the carrier."""

    async def work() -> None:
        async with lab(short_tmp) as it:
            it.agent.facts["ports"] = True
            it.link.opens_printed = True
            await it.attach()
            assert await it.agent.was_told("urls")
            it.agent.push("url", url="http://localhost:80/")
            for number in range(20000, 20100):
                it.agent.push("url", url=f"http://localhost:{number}/")
            opened = await it.until(lambda s: len(s.ports) == local_ports.MOST_PRINTED)
            assert all(int(port.local) >= 1024 for port in opened.ports)
            it.agent.push("url", url="http://evil.example:80/")
            await it.until(lambda s: len(it.states) > 2)
            assert "no URL of loopback" in str(it.link.streams.violation)

    run(work())


def test_an_agent_that_breaks_the_rules_of_a_port(short_tmp: Path) -> None:
    """It ends that connection; the link lives."""

    async def work() -> None:
        async with lab(short_tmp) as it:
            it.agent.facts["ports"] = True
            await it.attach()
            port = it.link.open_port(Target(80), 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port.local))
            # What comes back is what the client sends: a record in a record is none.
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            for connection in it.link.ports.open_ports[0].connections:
                assert connection.stream is not None
                it.link.streams.local_wrote(connection.stream, record(BYTES, b"x")[:4] + b"\0")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert it.states[-1].value == "connected"
            writer.close()

    run(work())


def test_an_agent_of_an_older_version(short_tmp: Path) -> None:
    """It would take a port's stream for an attack, and is not asked."""

    async def work() -> None:
        async with lab(short_tmp) as it:
            it.link.opens_printed = True
            await it.attach()
            with pytest.raises(errors.OldAgent):
                it.link.open_port(Target(80))
            assert [request["type"] for request in it.agent.requests] == ["state"]

    run(work())
