"""Local ports of a link: what a connection through one is like, also through outages."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import socket
import time

import pytest
from tornado.websocket import websocket_connect

from sshpyk import errors
from sshpyk.link.ports import LocalPort
from sshpyk.link.thread import io_thread
from sshpyk.remotekernel import OpenPort
from tests.lab.kernels import PATIENCE, run_code
from tests.ports.conftest import Serving
from tests.ports.servers import connect, get, open_port, pattern, read_all

pytestmark = pytest.mark.sshd

MEGABYTE = 1_000_000


def close(port: LocalPort) -> None:
    io_thread().loop.call_soon_threadsafe(port.ports.close, port)


def test_many_connections_at_once(serving: Serving) -> None:
    port = open_port(serving.link, serving.ports["http"])
    sizes = [n * 100_003 for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(len(sizes)) as pool:
        bodies = list(pool.map(lambda size: get(port, f"/{size}"), sizes))
    assert bodies == [pattern(size) for size in sizes]
    close(port)


@pytest.mark.parametrize("name", ["half", "unix", "v6"])
def test_a_direction_ends_alone(serving: Serving, name: str) -> None:
    port = open_port(serving.link, serving.ports[name])
    with connect(port) as sock:
        sock.sendall(b"x" * MEGABYTE)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"I have heard 1000000 bytes"
    close(port)


def test_a_download_and_a_conversation_live_through_an_outage(serving: Serving) -> None:
    link = serving.server.link
    assert link is not None
    web = open_port(serving.link, serving.ports["http"])
    echo = open_port(serving.link, serving.ports["echo"])
    size = 30 * MEGABYTE
    link.set_rate(20 * MEGABYTE)
    with connect(echo) as talk, concurrent.futures.ThreadPoolExecutor() as pool:
        talk.sendall(b"before")
        assert talk.recv(100) == b"before"
        download = pool.submit(get, web, f"/{size}")
        for number in range(2):
            time.sleep(0.3)  # somewhere within it: nothing tells of so many bytes
            link.cut()
            talk.sendall(b"%d" % number)
            assert talk.recv(100) == b"%d" % number
        link.set_rate(0)
        assert download.result(PATIENCE) == pattern(size)
    close(web)
    close(echo)


#: Runs in a kernel: a websocket that says again what it hears, and its port.
WEBSOCKET = """
import asyncio, threading
from tornado import httpserver, netutil, web, websocket

class Again(websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)

async def serve():
    httpserver.HTTPServer(web.Application([("/", Again)])).add_sockets(sockets)
    await asyncio.Event().wait()

sockets = netutil.bind_sockets(0, "127.0.0.1")
threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
print(sockets[0].getsockname()[1])
"""


def test_a_websocket_stays_open(serving: Serving) -> None:
    link = serving.server.link
    assert link is not None
    port = open_port(serving.link, int(run_code(serving.client, WEBSOCKET)))

    async def converse() -> None:
        connection = await websocket_connect(f"ws://localhost:{port.local}/")
        for number in range(3):
            await connection.write_message(str(number))
            assert await asyncio.wait_for(connection.read_message(), PATIENCE) == str(number)
            link.cut()
        connection.close()
        assert await asyncio.wait_for(connection.read_message(), PATIENCE) is None

    asyncio.run(converse())
    close(port)


def test_nothing_is_there(serving: Serving) -> None:
    port = open_port(serving.link, serving.ports["nobody"])
    with connect(port) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    (shown,) = serving.link.status.ports
    assert isinstance(shown.trouble, errors.NobodyListens)
    close(port)


def test_a_client_that_vanishes_ends_the_connection_there(serving: Serving) -> None:
    port = open_port(serving.link, serving.ports["http"])
    count = "print(threading.active_count())"
    before = run_code(serving.client, count).strip()
    with connect(port) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\n\r\n")
        sock.recv(100)
        assert run_code(serving.client, count).strip() != before
    # The server's thread ends as it writes to a connection that was reset.
    wait = f"import time\nwhile threading.active_count() != {before}: time.sleep(0.01)"
    run_code(serving.client, wait)
    close(port)


def test_a_port_that_is_taken_here(serving: Serving) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(errors.PortInUse, match=f"localhost:{number} can't be opened") as raised:
            open_port(serving.link, serving.ports["http"], number)
    assert "Another is free: --local " in raised.value.line
    assert serving.link.status.ports == ()


def test_a_url_that_the_kernel_prints_is_opened(serving: Serving) -> None:
    half = serving.ports["half"]
    code = f"print('Dashboard: <http://127.0.0.1:{half}/status?x=1>, http://localhost:{half}')"
    opened: queue.Queue[tuple[OpenPort, ...]] = queue.Queue()
    forget = serving.link.subscribe(lambda status: opened.put(status.ports))
    run_code(serving.client, code)
    run_code(serving.client, f"print('http://localhost:{serving.ports['nobody']}/')")
    (port,) = opened.get(timeout=PATIENCE)
    forget()
    assert port.target == str(half)
    assert port.url == f"http://localhost:{port.local}/status?x=1"  # taken here, as it is there
    with connect(serving.link.ports.open_ports[0]) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"I have heard 0 bytes"
    io_thread().loop.call_soon_threadsafe(serving.link.ports.close_printed)
