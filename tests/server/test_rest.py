"""Requests to a server that other requests are made to at the same time, or that are given up."""

from __future__ import annotations

import asyncio
import re
import socket
from threading import Event

from sshpyk.server.address import ServerAddress
from sshpyk.server.credentials import NOTHING, PASSWORD, Secret
from sshpyk.server.rest import Server
from tests.lab.kernels import PATIENCE
from tests.server.scripted import SPECS, Answer, Heard, scripted


def test_a_login_that_has_expired_is_renewed_once_for_all() -> None:
    logins = 0
    renewed = Event()

    def answer(heard: Heard) -> Answer:
        nonlocal logins
        if heard.path == "/login":
            logins += 1
            if logins == 2:
                renewed.set()
            return Answer(status=302, headers={"Set-Cookie": f"login={logins}", "Location": "/"})
        found = re.search("login=(.*)", heard.cookie)
        if found is not None and found[1] != "1":
            return Answer(SPECS)
        if heard.path == "/api/later":
            assert renewed.wait(PATIENCE)
        return Answer({"message": "Forbidden"}, status=403)

    async def ask() -> None:
        server = Server(ServerAddress(scripted_server.url), Secret(PASSWORD, "secret"))
        asked = [server.ask("POST", name, timeout=PATIENCE) for name in ("now", "later")]
        assert await asyncio.gather(*asked) == [SPECS, SPECS]

    with scripted(answer) as scripted_server:
        asyncio.run(ask())
    assert logins == 2


def test_a_request_that_is_given_up_leaves_no_connection() -> None:
    async def give_up(listener: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server = Server(ServerAddress(url), Secret(NOTHING, ""))
        asking = loop.create_task(server.ask("GET", "kernels", timeout=10 * PATIENCE))
        connection, _ = await loop.sock_accept(listener)
        with connection:
            connection.setblocking(False)
            assert await loop.sock_recv(connection, 10_000)
            asking.cancel()
            return await asyncio.wait_for(loop.sock_recv(connection, 1), PATIENCE)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        assert asyncio.run(give_up(listener)) == b""
