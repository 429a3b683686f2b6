"""Kernels of a real Jupyter Server, used as local ones are: all channels, several clients, cuts."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.jupyter import persistence
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.remotekernel import State, Status
from sshpyk.server import rest
from sshpyk.wire import liveness
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, run_code, started
from tests.lab.link import Link
from tests.server.debugger import Debugger
from tests.server.proxy import Proxy
from tests.server.servers import kernel_of, remote, running, write_card

#: A comm target that sends back what it gets, with its buffers.
ECHO = """
def opened(comm, message):
    @comm.on_msg
    def echo(message):
        comm.send(data=message["content"]["data"], buffers=message["buffers"])
get_ipython().kernel.comm_manager.register_target("echo", opened)
"""

#: What is debugged: a breakpoint in its second line.
DEBUGGED = "def double(x):\n    y = 2 * x\n    return y\nprint(double(21))\n"


class Follower:
    """Waits for what a kernel's status becomes."""

    def __init__(self, manager: KernelManager) -> None:
        self._changed = threading.Condition()
        self.seen: list[Status] = []
        self.kernel = kernel_of(manager)
        self.kernel.subscribe(self._take)

    def _take(self, status: Status) -> None:
        with self._changed:
            self.seen.append(status)
            self._changed.notify_all()

    def until(self, *states: State) -> None:
        """Wait until it has come to each of `states` in turn, from now on."""
        with self._changed:
            start = len(self.seen)

            def is_so() -> bool:
                came = iter([status.state for status in self.seen[start:]])
                return all(state in came for state in states)  # each from behind the one before

            assert self._changed.wait_for(is_so, PATIENCE), self.seen


def cut(link: Link, follower: Follower) -> None:
    """Break the connection, and wait until the kernel is there again."""
    # What the kernel did before may be told only now, when it still was connected.
    waiting = threading.Thread(target=follower.until, args=(State.AWAY, State.CONNECTED))
    waiting.start()
    assert link.cut() > 0
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


@contextlib.contextmanager
def another(manager: KernelManager) -> Iterator[BlockingKernelClient]:
    """A client as another program has it, by the connection file: with an identity of its own."""
    client = BlockingKernelClient(connection_file=manager.connection_file)
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()
        client.context.destroy(linger=100)


def reply_to(client: BlockingKernelClient, id: str) -> dict[str, Any]:
    """The reply's content."""
    while True:
        reply = client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"].get("msg_id") == id:
            content: dict[str, Any] = reply["content"]
            return content


def outputs_of(client: BlockingKernelClient, id: str) -> list[tuple[str, dict[str, Any]]]:
    """What came on iopub of a request, up to the kernel's being idle again."""
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") == id:
            if message["content"].get("execution_state") == "idle":
                return found
            found.append((message["msg_type"], message["content"]))


@pytest.mark.versions
def test_all_channels_and_two_clients(far: Server, url: str) -> None:
    write_card("far", url)
    with started("far") as (manager, client), another(manager) as other:
        assert run_code(client, "x = 6 * 7; print(x)") == "42\n"
        # Replies go to who asked, output to both.
        ids = []
        for n, one in enumerate((client, other)):
            ids.append(one.execute(f"print({n}); x + {n}"))
            assert reply_to(one, ids[n])["status"] == "ok"
        for one in (client, other):
            for n, id in enumerate(ids):
                outputs = dict(outputs_of(one, id))
                assert outputs["stream"]["text"] == f"{n}\n"
                assert outputs["execute_result"]["data"]["text/plain"] == str(42 + n)
            assert not one.shell_channel.msg_ready()
        # Who asked is asked.
        id = other.execute("input('who? ')", allow_stdin=True)
        assert other.get_stdin_msg(timeout=PATIENCE)["content"]["prompt"] == "who? "
        other.input("you")
        assert reply_to(other, id)["status"] == "ok"
        assert not client.stdin_channel.msg_ready()
        # Buffers come through as they are.
        run_code(client, ECHO)
        buffer = os.urandom(4 << 20)
        for type, content in (
            ("comm_open", {"comm_id": "c", "target_name": "echo", "data": {}}),
            ("comm_msg", {"comm_id": "c", "data": {"a": 1}}),
        ):
            message = client.session.msg(type, content)
            client.session.send(client.shell_channel.socket, message, buffers=[buffer])
        while (got := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "comm_msg":
            pass
        assert bytes(got["buffers"][0]) == buffer
        # An interrupt, and a restart in place.
        id = client.execute("import time\nprint('begun')\ntime.sleep(3600)")
        while (got := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        assert reply_to(client, id)["ename"] == "KeyboardInterrupt"
        (there,) = running(far)
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print('x' in globals())") == "False\n"
        assert running(far) == [there]
        assert client.is_alive(), "heartbeats are answered"


@pytest.mark.versions
def test_a_cut_is_told_and_nothing_is_sent_twice(
    far: Server, url: str, link: Link, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_card("far", url)
    caplog.set_level(logging.WARNING)
    go = tmp_path / "go"
    with started("far") as (manager, client):
        manager.log.propagate = True
        run_code(client, "count = 0")
        follower = Follower(manager)
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
        id = client.execute(f"count += 1\nprint('begun', flush=True)\n{wait}\nprint('ended')")
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass
        link.refuse()
        away = threading.Thread(target=follower.until, args=(State.AWAY,))
        away.start()
        link.cut()
        away.join(PATIENCE)
        assert manager.is_alive(), "out of reach is not dead"
        later = client.execute("count += 1")  # waits until the server is back
        link.accept()
        follower_until_connected(follower)
        go.touch()
        assert reply_to(client, id)["status"] == "ok"
        assert reply_to(client, later)["status"] == "ok"
        told = [c["text"] for t, c in outputs_of(client, id) if t == "stream"]
        assert "".join(told).endswith("ended\n")
        (gap,) = [text for text in told if text.startswith("sshpyk: ")]
        assert re.fullmatch(
            r"sshpyk: the server may have dropped output between (\S{8}) and (\S{8})\n", gap
        )
        assert run_code(client, "print(count)") == "2\n"
        assert follower.kernel.status.gap is not None
        assert follower.kernel.status.to_json()["gap"] == list(follower.kernel.status.gap)
        said = [r for r in caplog.records if "may have dropped" in r.getMessage()]
        assert len(said) == 1
        # Where nothing was going on nothing can have been lost.
        cut(link, follower)
        run_code(client, "pass")
    said = [r for r in caplog.records if "may have dropped" in r.getMessage()]
    assert len(said) == 1
    assert far.token not in caplog.text


#: Prints for three seconds, and knows when: each line's `times` are from before it to after it.
TELLING = """
import time
times = []
for number in range(80):
    before = time.time()
    print(number, flush=True)
    times.append((before, time.time()))
    time.sleep(0.025)
"""


def test_what_a_proxy_swallows_is_told(
    far: Server, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """Output that is gone was sent in a time of which it was said that some may be."""
    caplog.set_level(logging.WARNING)
    with Proxy(far.port) as proxy:
        write_card("far", f"http://127.0.0.1:{proxy.port}/")
        with started("far") as (manager, client):
            manager.log.propagate = True
            follower = Follower(manager)
            with proxy.cutting():
                id = client.execute(TELLING)
                reply_to(client, id)  # it may be that no answer came
            id = client.execute("", user_expressions={"times": "times"})
            text = []
            while True:
                message = client.get_iopub_msg(timeout=PATIENCE)
                if message["msg_type"] == "stream":
                    text.append(message["content"]["text"])
                is_of_it = message["parent_header"].get("msg_id") == id
                if is_of_it and message["content"].get("execution_state") == "idle":
                    break
            reply = reply_to(client, id)
            times = ast.literal_eval(reply["user_expressions"]["times"]["data"]["text/plain"])
            got = {int(line) for line in "".join(text).splitlines() if line.isdigit()}
            lost = [time for number, time in enumerate(times) if number not in got]
            gaps = {status.gap for status in follower.seen if status.gap is not None}
            assert lost, "the proxy swallowed nothing"
            for before, after in lost:
                assert any(since <= after and before <= until for since, until in gaps)
    said = [r for r in caplog.records if "may have dropped" in r.getMessage()]
    assert len(said) == len(gaps)


def follower_until_connected(follower: Follower) -> None:
    """Wait until the kernel is there, now or later."""
    deadline = time.monotonic() + PATIENCE
    while follower.kernel.status.state is not State.CONNECTED:
        assert time.monotonic() < deadline
        with follower._changed:
            follower._changed.wait(0.1)


def test_a_reply_that_is_lost_is_answered_for(
    url: str, link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives its output and the reply to a connection that only it believes in."""
    monkeypatch.setattr(liveness, "PING_AFTER", 0.5)
    monkeypatch.setattr(liveness, "PATIENCE", 0.5)
    while_there = rest.Server.while_there

    async def late(self: rest.Server, id: str, work: Awaitable[Any]) -> Any:
        given = await while_there(self, id, work)
        await asyncio.sleep(0.3)  # as on a busy machine: much has come before we go on
        return given

    monkeypatch.setattr(rest.Server, "while_there", late)
    write_card("far", url)
    go, done = tmp_path / "go", tmp_path / "done"
    with started("far") as (manager, client):
        follower = Follower(manager)
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
        id = client.execute(f"print('begun', flush=True)\n{wait}\nopen({str(done)!r}, 'w')")
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass
        away = threading.Thread(target=follower.until, args=(State.AWAY,))
        away.start()
        link.hole()
        go.touch()
        away.join(PATIENCE)
        assert done.exists()
        link.heal()
        reply = reply_to(client, id)
        assert reply["ename"] == "ConnectionLost"
        assert "It was not sent again" in reply["evalue"]
        outputs = outputs_of(client, id)  # the cell is not busy any more
        assert [c["ename"] for t, c in outputs if t == "error"] == ["ConnectionLost"]
        told = "".join(content["text"] for type, content in outputs if type == "stream")
        assert "the server may have dropped output" in told
        assert run_code(client, "print(1)") == "1\n"


def test_a_kernel_that_somebody_else_ends_is_dead(far: Server, url: str) -> None:
    write_card("far", url)
    with started("far") as (manager, _):
        follower = Follower(manager)
        (there,) = running(far)
        ended = threading.Thread(target=follower.until, args=(State.EXITED,))
        ended.start()
        far.shut_down(there)
        ended.join(PATIENCE)
        assert not manager.is_alive()
        assert follower.kernel.is_gone


def test_leaving_and_coming_back(far: Server, url: str) -> None:
    write_card("far", url, persistent=True)
    with started("far") as (manager, client):
        run_code(client, "x = 'still here'")
        assert isinstance(manager.provisioner, SSHKernelProvisioner)
        path = manager.provisioner.persistence_path
    (there,) = running(far)
    text = Path(path).read_text()
    assert os.stat(path).st_mode & 0o077 == 0
    assert far.token not in text
    saved = persistence.load(path)
    assert isinstance(saved, persistence.ServerPersistence)
    assert saved.address.id == there
    # By the file, by the kernel's id, and by the name of a session.
    write_card("file", url, existing=path, persistent=True)
    write_card("id", url, server_kernel_id=there)
    write_card("session", url, session="mine")
    for card in ("file", "id"):
        with started(card) as (_, client):
            assert run_code(client, "print(x)") == "still here\n"
        assert running(far) == [there]
    for code in ("y = 1", "print(y)"):
        with started("session") as (_, client):
            run_code(client, code)
    _, sessions = far.call("GET", "sessions")
    (mine,) = [s for s in sessions if s["name"] == "mine"]
    far.shut_down(mine["kernel"]["id"])
    write_card("file", url, existing=path)
    with started("file") as (_, client):
        assert run_code(client, "print(x)") == "still here\n"
    assert not os.path.exists(path)


def test_a_password_and_the_old_framing(
    tmp_path: Path, own_jupyter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_server.auth.security import passwd

    from sshpyk.server import credentials

    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    hashed = passwd("let me in", "sha1")  # type: ignore[no-untyped-call]  # upstream's
    with remote(
        tmp_path,
        f"--PasswordIdentityProvider.hashed_password={hashed}",
        "--ZMQChannelsWebsocketConnection.kernel_ws_protocol=",
    ) as server:
        url = f"http://127.0.0.1:{server.port}/"
        where = credentials.keep(url, credentials.Secret(credentials.PASSWORD, "let me in"))
        assert where == credentials.path()
        assert os.stat(where).st_mode & 0o077 == 0
        write_card("old", url, token_env=None)
        with started("old") as (manager, client):
            channels = kernel_of(manager)._channels
            assert channels is not None
            assert channels._is_legacy
            assert run_code(client, "print('ä', 6 * 7)") == "ä 42\n"
            run_code(client, ECHO)
            for type, content in (
                ("comm_open", {"comm_id": "c", "target_name": "echo", "data": {}}),
                ("comm_msg", {"comm_id": "c", "data": {}}),
            ):
                message = client.session.msg(type, content)
                client.session.send(client.shell_channel.socket, message, buffers=[b"\0\xff"])
            while (got := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "comm_msg":
                pass
            assert bytes(got["buffers"][0]) == b"\0\xff"
        assert running(server) == []


@pytest.mark.parametrize("way", ["plain", "carried"])
def test_a_breakpoint_is_reached_looked_at_and_left(far: Server, url: str, way: str) -> None:
    write_card("far", url, server_way=way)
    with started("far") as (_, client):
        debugger = Debugger(client)
        debugger.attach()
        path = debugger.ask("dumpCell", code=DEBUGGED)["sourcePath"]
        found = debugger.ask(
            "setBreakpoints",
            breakpoints=[{"line": 2}],
            source={"path": path},
            sourceModified=False,
        )
        assert [point["verified"] for point in found["breakpoints"]] == [True]
        debugger.ask("configurationDone")
        id = client.execute(DEBUGGED)
        stopped = debugger.event("stopped")["body"]
        assert stopped["reason"] == "breakpoint"
        frames = debugger.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
        assert (frames[0]["name"], frames[0]["line"]) == ("double", 2)
        scopes = debugger.ask("scopes", frameId=frames[0]["id"])["scopes"]
        values = debugger.ask("variables", variablesReference=scopes[0]["variablesReference"])
        assert {"x": "21"}.items() <= {v["name"]: v["value"] for v in values["variables"]}.items()
        debugger.ask("continue", threadId=stopped["threadId"])
        assert reply_to(client, id)["status"] == "ok"
        debugger.ask("disconnect", restart=False, terminateDebuggee=False)
