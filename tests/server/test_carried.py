"""Kernels of a real Jupyter Server, carried. What faults do to them: tests/faults."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.cli import main
from sshpyk.jupyter import persistence
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.remotekernel import RemoteKernel, Status
from sshpyk.server import helper, transport, trouble
from sshpyk.server.carried import CarriedKernel
from sshpyk.server.kernel import ServerKernel
from sshpyk.wire.liveness import PATIENCE as FOR_PONG
from sshpyk.wire.liveness import PING_AFTER
from tests.faults.chain import CarriedChain
from tests.faults.record import Watched
from tests.jupyter.server import Server
from tests.lab.kernels import (
    PATIENCE,
    client_of,
    left_behind,
    remote_kernel_of,
    run_code,
    started,
    until,
    until_status,
)
from tests.lab.link import Link
from tests.server.proxy import Proxy, Stumbling, Swallowing
from tests.server.servers import remote, running, write_card
from tests.server.test_kernel import ECHO, reply_to


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home directory on the server's machine."""
    return tmp_path_factory.mktemp("far-home")


@pytest.fixture(scope="module")
def far(home: Path) -> Iterator[Server]:
    """A server, as on another machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("XDG_STATE_HOME", raising=False)
        server = remote(home)
        entered = server.__enter__()
    try:
        yield entered
    finally:
        server.__exit__(None, None, None)


@pytest.fixture
def link(far: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The way to it. In the end there must be no kernel, helper or agent any more."""
    monkeypatch.setenv("SERVER_TOKEN", far.token)
    monkeypatch.setattr(transport, "IDLE", 0.1)
    with Link(far.port) as way:
        yield way
        until(lambda: running(far) == [])
        until(lambda: agents(home) == [])


@pytest.fixture
def url(link: Link) -> str:
    """The server's URL, through the link."""
    return f"http://127.0.0.1:{link.port}/"


def agents(home: Path) -> list[str]:
    """The agents that are there: the rest are words of kernels that have ended."""
    return [name for name in left_behind(home) if "." not in name]


def carried(manager: KernelManager) -> CarriedKernel:
    """A manager's kernel, which is carried."""
    kernel = remote_kernel_of(manager)
    assert isinstance(kernel, CarriedKernel)
    return kernel


def get_echo(client: BlockingKernelClient, buffer: bytes) -> bytes:
    """What comes back of a buffer that is sent to a comm in the kernel."""
    run_code(client, ECHO)
    for type, content in (
        ("comm_open", {"comm_id": "c", "target_name": "echo", "data": {}}),
        ("comm_msg", {"comm_id": "c", "data": {}}),
    ):
        message = client.session.msg(type, content)
        buffers = [buffer] if type == "comm_msg" else None
        client.session.send(client.shell_channel.socket, message, buffers=buffers)
    while (got := client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "comm_msg":
        pass
    return bytes(got["buffers"][0])


def check_channels(client: BlockingKernelClient, size: int) -> None:
    """Output, input, and a buffer of that `size` in bytes each way; leaves an `x` in the kernel."""
    assert run_code(client, "x = 1; print('ä', 6 * 7)") == "ä 42\n"
    id = client.execute("input('who? ')", allow_stdin=True)
    assert client.get_stdin_msg(timeout=PATIENCE)["content"]["prompt"] == "who? "
    client.input("you")
    assert reply_to(client, id)["status"] == "ok"
    buffer = os.urandom(size)
    assert get_echo(client, buffer) == buffer


def test_an_ordinary_kernel_of_that_server(far: Server, url: str) -> None:
    """By default; what it does is asked of its server."""
    write_card("far", url, server_way=None)
    with started("far") as (manager, client):
        there = carried(manager).kernel_id
        assert there in running(far)
        _, sessions = far.call("GET", "sessions")
        names = {session["name"]: session["kernel"]["id"] for session in sessions}
        assert names.pop(transport.NAME) != there
        assert list(names.values()) == [there]
        check_channels(client, 50 << 20)  # most servers take no message of more than 10 MiB
        id = client.execute("import time\nprint('begun')\ntime.sleep(3600)")
        while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass
        manager.interrupt_kernel()
        assert reply_to(client, id)["ename"] == "KeyboardInterrupt"
        before = set(running(far))
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print('x' in globals())") == "False\n"
        assert set(running(far)) == before
        assert client.is_alive(), "heartbeats are answered"


def test_nothing_is_sent_while_nothing_happens(far: Server, url: str) -> None:
    """A Hub's culler looks at when a kernel was last active."""
    write_card("far", url, server_way="carried")

    def activity() -> dict[str, str]:
        _, kernels = far.call("GET", "kernels")
        return {kernel["id"]: kernel["last_activity"] for kernel in kernels}

    with started("far") as (_, client):
        run_code(client, "pass")
        time.sleep(1.0)  # for acknowledgements
        before = activity()
        assert len(before) == 2
        time.sleep(PING_AFTER + FOR_PONG + 1.0)
        assert activity() == before
        assert run_code(client, "print(1)") == "1\n"
        assert client.is_alive()


@pytest.mark.versions
def test_a_proxy_that_holds_up_and_cuts(far: Server, link: Link) -> None:
    """Nothing is lost by it, and a silence that it ends is only a silence."""
    work = """
import time
for number in range(80):
    print(number, "x" * number ** 2, flush=True)
    time.sleep(0.025)
"""
    with Proxy(far.port) as proxy:
        write_card("far", f"http://127.0.0.1:{proxy.port}/", server_way="carried")
        with started("far") as (_, client), Watched(client) as watched:
            with proxy.cutting() as cuts:
                watched.run(work)
            assert [line.split()[0] for line in watched.lines] == [*map(str, range(80))]
            assert watched.check() > 80
            proxy.idle = 2.0
            watched.run("")
            until(lambda: proxy.idled > 0)
            watched.run("print('afterwards')")
            assert watched.lines[-1] == "afterwards"
            watched.check()
            assert sum(cuts) > 0
        until(lambda: len(running(far)) == 0)  # before the way there ends


@pytest.mark.parametrize("way", ["carried", "plain"])
def test_a_start_outlasts_connections_that_break(far: Server, link: Link, way: str) -> None:
    """Of those that only ask, each breaks once."""
    with Stumbling(far.port) as proxy:
        write_card("far", f"http://127.0.0.1:{proxy.port}/", server_way=way)
        with started("far") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
            websockets = [path for path in proxy.stumbled if path.endswith("/channels")]
            assert len(websockets) == 1
            assert (len(proxy.stumbled) > 1) is (way == "carried")  # it looks for a Python there
        until(lambda: len(running(far)) == 0)  # before the way there ends


def test_a_kernel_that_dies_and_one_that_is_ended(far: Server, home: Path, url: str) -> None:
    write_card("far", url, server_way="carried")
    with started("far") as (manager, client):
        kernel = carried(manager)
        died = threading.Thread(target=until_status, args=(manager, has_exited))
        died.start()
        CarriedChain(far.pid, home).send("kernel", signal.SIGKILL)
        died.join(PATIENCE)
        assert not manager.is_alive()
        manager.restart_kernel()  # as Jupyter's restarter does; its server may have been quicker
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print(1)") == "1\n"
        assert len(running(far)) == 2
        far.shut_down(kernel.kernel_id)
        until_status(manager, has_exited)
        assert not manager.is_alive()
        until(lambda: kernel.is_gone)
        assert "ended it" in str(kernel.exited)


def test_an_interrupt_whose_answer_is_lost_ends_no_other_cell(far: Server, link: Link) -> None:
    with Swallowing(far.port) as proxy:
        write_card("far", f"http://127.0.0.1:{proxy.port}/", server_way="carried")
        with started("far") as (manager, client):
            id = client.execute("import time\nprint('begun')\ntime.sleep(3600)")
            while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
                pass
            manager.interrupt_kernel()
            assert reply_to(client, id)["ename"] == "KeyboardInterrupt"
            assert run_code(client, "time.sleep(4)\nprint('ended')") == "ended\n"
            assert proxy.swallowed == 1
        until(lambda: len(running(far)) == 0)  # before the way there ends


def test_clients_stay_when_another_kernel_takes_the_place_of_one_that_is_gone(
    far: Server, url: str
) -> None:
    """As after a cull. It has a key of its own, which clients that are there can't know."""
    write_card("far", url, server_way="carried", persistent=True)
    with started("far") as (manager, client):
        kernel = carried(manager)
        far.shut_down(kernel.kernel_id)
        until(lambda: kernel.is_gone)
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        check_channels(client, 20 << 20)
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print('x' in globals())") == "False\n"
        # Whoever comes later takes the kernel's own key.
        run_code(client, "y = 2")
        assert isinstance(manager.provisioner, SSHKernelProvisioner)
        path = manager.provisioner.persistence_path
        manager.shutdown_kernel()
    write_card("again", url, server_way="carried", existing=path)
    with started("again") as (manager, client):
        assert run_code(client, "print(y)") == "2\n"


def has_exited(status: Status) -> bool:
    return status.exited is not None


@pytest.mark.versions
def test_leaving_and_coming_back(
    far: Server, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says while nobody is there is kept, as that of a kernel over ssh."""
    write_card("far", url, server_way="carried", persistent=True)
    go, done = tmp_path / "go", tmp_path / "done"
    with started("far") as (manager, client):
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
        code = f"x = 'there'\n{wait}\nprint('unseen', flush=True)\nopen({str(done)!r}, 'w')"
        client.execute(code)
        there = carried(manager).kernel_id
        assert isinstance(manager.provisioner, SSHKernelProvisioner)
        path = manager.provisioner.persistence_path
    text = Path(path).read_text()
    assert os.stat(path).st_mode & 0o077 == 0
    assert far.token not in text
    assert isinstance(persistence.load(path), persistence.Persistence)
    until(lambda: running(far) == [there])  # the helper has gone with the last link
    go.touch()
    until(done.exists)
    write_card("file", url, existing=path, persistent=True)
    write_card("id", url, server_kernel_id=there, server_way="carried")
    with started("file") as (_, client), started("id") as (_, other):
        assert run_code(client, "print(x)") == "there\n"
        assert run_code(other, "print(x)") == "there\n"
        notebook = tmp_path / "one.ipynb"
        cell = {"cell_type": "code", "source": code, "outputs": [], "metadata": {}, "id": "a"}
        cells = [{**cell, "execution_count": None}]
        content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        notebook.write_text(json.dumps(content))
        assert main(["logs", path, "--agent"]) == 0
        assert "attachment" in capsys.readouterr().out
        assert main(["collect", path, str(notebook)]) == 0
        (cell,) = json.loads(notebook.read_text())["cells"]
        assert "unseen" in str(cell["outputs"])
    far.shut_down(there)
    until(lambda: there not in running(far))


def test_a_client_that_vanished(
    far: Server, home: Path, url: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper has the server end it after the lease, and the agent goes; the kernel is left to
    the server's own rules."""
    monkeypatch.setattr(transport, "LEASE", 1.0)
    source = helper.source().replace("PATIENCE = 60.0", "PATIENCE = 1.0")
    monkeypatch.setattr(helper, "source", lambda: source)
    write_card("far", url, server_way="carried", lease=1.0)
    with started("far") as (manager, client):
        there = carried(manager).kernel_id
        run_code(client, "x = 1")
        # While it is there, a lease that has run out is only asked about.
        time.sleep(3.0)
        assert len(running(far)) == 2
        assert run_code(client, "print(x)") == "1\n"
        link.refuse()
        link.cut()
        until(lambda: running(far) == [there])
        until(lambda: agents(home) == [])
        link.accept()
        until_status(manager, has_exited)
        assert "its lease ran out" in str(remote_kernel_of(manager).exited)


def test_where_it_does_not_work_the_plain_way_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the server has no Python kernel, as far as it says."""
    spec = tmp_path / "data" / "kernels" / "other"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Other", "language": "other"})
    )
    with remote(tmp_path, "--KernelSpecManager.ensure_native_kernel=False",
                "--KernelSpecManager.allowed_kernelspecs=other") as server:  # fmt: skip
        monkeypatch.setenv("SERVER_TOKEN", server.token)
        url = f"http://127.0.0.1:{server.port}/"
        for way in (None, "carried"):
            write_card("far", url, server_way=way, remote_kernel_name="other")
            caplog.clear()
            manager = KernelManager(kernel_name="far")
            manager.log.propagate = True
            with caplog.at_level(logging.WARNING):
                if way is None:
                    manager.start_kernel()
                    assert isinstance(remote_kernel_of(manager), ServerKernel)
                    said = [r for r in caplog.records if "plain way" in r.getMessage()]
                    assert len(said) == 1
                    manager.shutdown_kernel(now=True)
                else:
                    with pytest.raises(Exception, match="it has no Python kernel"):
                        manager.start_kernel()
        assert running(server) == []


QUOTA = """
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError

class Few(AsyncMappingKernelManager):
    taken = 0
    async def start_kernel(self, **kwargs):
        if self.taken >= 2:
            raise HTTPError(403, "Quota: 2 of 2 kernels")
        self.taken += 1
        return await super().start_kernel(**kwargs)
    async def shutdown_kernel(self, *args, **kwargs):
        await super().shutdown_kernel(*args, **kwargs)
        self.taken -= 1

c.ServerApp.kernel_manager_class = Few
"""


def test_where_there_is_no_room_for_a_helper_the_plain_way_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "IDLE", 60.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.py").write_text(QUOTA)
    with remote(tmp_path) as server:
        monkeypatch.setenv("SERVER_TOKEN", server.token)
        write_card("far", f"http://127.0.0.1:{server.port}/", server_way=None)

        def start(kind: type[RemoteKernel], why: str = "") -> None:
            caplog.clear()
            manager = KernelManager(kernel_name="far")
            manager.log.propagate = True
            manager.start_kernel()
            try:
                assert isinstance(remote_kernel_of(manager), kind)
                with client_of(manager) as client:
                    assert run_code(client, "print(6 * 7)") == "42\n"
                said = [r.getMessage() for r in caplog.records if "plain way" in r.getMessage()]
                assert len(said) == (kind is ServerKernel)
                assert all(why in text for text in said)
            finally:
                manager.shutdown_kernel()
                manager.context.destroy(linger=100)

        start(CarriedKernel)
        [helper] = running(server)
        other = server.start_kernel("python3")
        start(ServerKernel, "it starts none beside the helper kernel (HTTP 500)")
        assert running(server) == [other], "the helper has made room"
        again = server.start_kernel("python3")
        with pytest.raises(trouble.ServerFailed, match="Quota: 2 of 2 kernels"):
            KernelManager(kernel_name="far").start_kernel()
        assert set(running(server)) == {other, again}
        assert helper not in running(server)
