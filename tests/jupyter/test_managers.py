"""What kernel managers ask of a kernel, whatever its kind, asked of a remote one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from jupyter_client.manager import KernelManager

from sshpyk import errors
from tests.lab.kernels import PATIENCE, STATE, client_of, many, run_code, started, write_spec
from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd

pytestmark = [pytest.mark.sshd, pytest.mark.usefixtures("clean")]


def connection_file(home: Path) -> dict[str, Any]:
    """What the only kernel on the host was told."""
    (path,) = (home / STATE).glob("*/connection.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def ports(manager: KernelManager) -> dict[str, Any]:
    """Where clients find the kernel."""
    return {
        name: value
        for name, value in manager.get_connection_info().items()
        if name.endswith("_port") or name in ("ip", "transport")
    }


# -- transports and encryption ---------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["auto", "required"])
def test_transport_encryption(sshd: Sshd, remote_home: Path, policy: str) -> None:
    write_spec("remote", sshd, spec={"metadata": {"supported_encryption": ["curve"]}})
    manager = KernelManager(kernel_name="remote", transport_encryption=policy)
    manager.start_kernel()
    try:
        info = manager.get_connection_info()
        there = connection_file(remote_home)
        assert there["curve_publickey"] == info["curve_publickey"]
        with client_of(manager) as client:
            assert run_code(client, "print(6 * 7)") == "42\n"
            manager.restart_kernel()
            client.wait_for_ready(timeout=PATIENCE)
            assert run_code(client, "print(6 * 7)") == "42\n"
        assert connection_file(remote_home)["curve_publickey"] == info["curve_publickey"]
    finally:
        manager.shutdown_kernel()


def write_plain_spec(home: Path) -> None:
    """A kernelspec "plain" on the host that says nothing of encryption."""
    plain = home / ".local/share/jupyter/kernels/plain"
    plain.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (plain / "kernel.json").write_text(json.dumps({"argv": argv}))


def test_a_kernel_that_can_t_encrypt_gets_no_keys(sshd: Sshd, remote_home: Path) -> None:
    write_plain_spec(remote_home)
    write_spec("remote", sshd, remote_kernel_name="plain")
    manager = KernelManager(kernel_name="remote", transport_encryption="auto")
    manager.start_kernel()
    try:
        assert "curve_publickey" not in manager.get_connection_info()
        assert "curve_secretkey" not in connection_file(remote_home)
        with client_of(manager) as client:
            assert run_code(client, "print(6 * 7)") == "42\n"
    finally:
        manager.shutdown_kernel()


def test_without_the_host_s_word_required_encryption_fails(sshd: Sshd, remote_home: Path) -> None:
    write_plain_spec(remote_home)
    spec = {"metadata": {"supported_encryption": ["curve"]}}
    write_spec("remote", sshd, spec=spec, remote_kernel_name="plain")
    manager = KernelManager(kernel_name="remote", transport_encryption="required")
    with pytest.raises(errors.NoCurve):
        manager.start_kernel()


def test_the_ipc_transport(sshd: Sshd, own_jupyter: Path) -> None:
    write_spec("remote", sshd)
    manager = KernelManager(kernel_name="remote", transport="ipc", ip=f"{own_jupyter}/ipc")
    manager.start_kernel()
    try:
        before = ports(manager)
        assert before["transport"] == "ipc"
        for _ in range(2):
            with client_of(manager) as client:
                assert run_code(client, "print(6 * 7)") == "42\n"
            # jupyter_client takes the sockets away.
            manager.restart_kernel(now=True)
            assert ports(manager) == before
        with client_of(manager) as client:
            assert run_code(client, "print(6 * 7)") == "42\n"
    finally:
        manager.shutdown_kernel()
    assert list(own_jupyter.glob("ipc*")) == []


def test_a_restart_is_in_place(sshd: Sshd, remote_home: Path) -> None:
    write_spec("remote", sshd)
    with started("remote") as (manager, client):
        before = ports(manager)
        file = Path(manager.connection_file).read_text()
        agents = os.listdir(remote_home / STATE)
        assert run_code(client, "x = 1") == ""
        for now in (False, True):
            manager.restart_kernel(now=now)
            # The very client goes on, without connecting anew.
            client.wait_for_ready(timeout=PATIENCE)
            assert run_code(client, "print('x' in globals())") == "False\n"
        assert ports(manager) == before
        assert Path(manager.connection_file).read_text() == file
        assert os.listdir(remote_home / STATE) == agents


# -- what a start is given -------------------------------------------------------------------------


def test_the_environment(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "never")
    monkeypatch.setenv("SENT_ONE", "sent")
    monkeypatch.setenv("SENT_TWO", "sent too")
    spec = {"env": {"FROM_SPEC": "spec", "MY_PATH": "/opt:$PATH"}}
    settings = {"env": {"FROM_SETTINGS": "set", "AT_HOME": "${HOME}/x"}, "send_env": ["SENT_*"]}
    write_spec("remote", sshd, spec=spec, **settings)
    given = {**os.environ, "JPY_SESSION_NAME": "a.ipynb", "KERNEL_USERNAME": "me", "OTHER": "no"}
    with started("remote", env=given) as (_, client):
        text = run_code(client, "import json, os; print(json.dumps(dict(os.environ)))")
    env = json.loads(text)
    assert "SECRET_OF_MINE" not in env
    assert "OTHER" not in env
    assert not [name for name in env if name.startswith(("JUPYTER_", "PYTEST_"))]
    assert env["FROM_SPEC"] == "spec"
    assert env["MY_PATH"] == f"/opt:{env['PATH']}"
    assert env["FROM_SETTINGS"] == "set"
    assert env["AT_HOME"] == f"{env['HOME']}/x"
    assert (env["SENT_ONE"], env["SENT_TWO"]) == ("sent", "sent too")
    assert env["JPY_SESSION_NAME"] == "a.ipynb"
    assert env["KERNEL_USERNAME"] == "me"


def test_the_directory_and_the_arguments(
    sshd: Sshd, remote_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "local-home"
    (home / "work/here-alone").mkdir(parents=True)
    (remote_home / "work").mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    where = "import os; print(os.getcwd())"
    write_spec("remote", sshd)
    arguments = ["--IPKernelApp.exec_lines=told = 1"]
    given = {"cwd": str(home / "work"), "extra_arguments": arguments}
    with started("remote", **given) as (manager, client):
        assert run_code(client, where) == f"{remote_home}/work\n"
        assert run_code(client, "print(told)") == "1\n"
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, where) == f"{remote_home}/work\n"
        assert run_code(client, "print(told)") == "1\n"
    with started("remote", cwd=str(home / "work/here-alone")) as (_, client):
        assert run_code(client, where) == f"{remote_home}\n"
    write_spec("remote", sshd, remote_cwd="~/work")
    with started("remote") as (_, client):
        assert run_code(client, where) == f"{remote_home}/work\n"


def test_setup_lines_in_a_login_shell(sshd: Sshd, remote_home: Path) -> None:
    profile = remote_home / ".bash_profile"
    profile.write_text("export FROM_PROFILE=profile\n")
    try:
        lines = ['export FROM_SETUP="it\'s $FROM_PROFILE"', "cd /usr"]
        write_spec("remote", sshd, setup=lines, login_shell=True)
        with started("remote") as (_, client):
            code = "import os; print(os.environ['FROM_SETUP'], os.getcwd())"
            assert run_code(client, code) == "it's profile /usr\n"
    finally:
        profile.unlink()


# -- other managers --------------------------------------------------------------------------------


def test_nbclient_runs_a_notebook(sshd: Sshd, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    v4: Any = nbformat.v4
    cells = [v4.new_code_cell(code) for code in ("x = 6", "print(x * 7)", "x")]
    notebook = v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="remote", resources=resources
    )
    client.execute()
    assert notebook.cells[1].outputs[0].text == "42\n"
    assert notebook.cells[2].outputs[0].data["text/plain"] == "6"


def test_several_kernels_of_one_manager(sshd: Sshd) -> None:
    write_spec("remote", sshd)

    async def value(manager: Any, number: int) -> str:
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=PATIENCE)
            code = f"answer = {number} * 2"
            expression = {"a": "answer"}
            message = client.execute(code, user_expressions=expression)
            while True:
                reply = await client.get_shell_msg(timeout=PATIENCE)
                if reply["parent_header"]["msg_id"] == message:
                    text: str = reply["content"]["user_expressions"]["a"]["data"]["text/plain"]
                    return text
        finally:
            client.stop_channels()

    async def work() -> None:
        async with many() as managers:
            starts = [managers.start_kernel(kernel_name="remote") for _ in range(4)]
            kernels = await asyncio.gather(*starts)
            work = [value(managers.get_kernel(k), n) for n, k in enumerate(kernels)]
            assert await asyncio.gather(*work) == ["0", "2", "4", "6"]
            await managers.restart_kernel(kernels[0])
            assert await value(managers.get_kernel(kernels[0]), 21) == "42"

    asyncio.run(work())


def test_a_path_is_resolved_where_the_host_has_it(
    sshd: Sshd, tmp_path: Path, remote_home: Path
) -> None:
    """As Jupyter Server asks: it awaits what it gets."""
    (tmp_path / "data.csv").write_text("1,2")
    (remote_home / "at-home.txt").touch()
    write_spec("remote", sshd, remote_cwd=str(tmp_path))
    with started("remote") as (manager, _):
        provisioner: Any = manager.provisioner

        async def resolved(*paths: str) -> list[str | None]:
            return [await provisioner.resolve_path(path) for path in paths]

        there = str(tmp_path / "data.csv")
        found = asyncio.run(resolved("data.csv", there, "./x/../data.csv", "~/at-home.txt"))
        assert found == [there, there, there, str(remote_home / "at-home.txt")]
        assert asyncio.run(resolved("missing.csv", "/nowhere/x", "~/data.csv")) == [None] * 3
    assert asyncio.run(provisioner.resolve_path("data.csv")) is None


def test_connections_that_end_at_once_leave_nothing_open(sshd: Sshd) -> None:
    write_spec("remote", sshd)
    with started("remote") as (manager, client):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(100):
            socket.create_connection(("127.0.0.1", manager.shell_port)).close()
        assert run_code(client, "print(6 * 7)") == "42\n"
        deadline = time.monotonic() + PATIENCE
        while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
            assert run_code(client, "1") == ""  # both ends have work, and so let go
        assert len(os.listdir("/proc/self/fd")) <= before


# -- kernels that die ------------------------------------------------------------------------------


class Restarts:
    """Counts what the restarter of a manager does."""

    def __init__(self, manager: AsyncIOLoopKernelManager) -> None:
        self.restarts = 0
        self.changed = asyncio.Event()
        self.dead = asyncio.Event()
        manager.add_restart_callback(self._on_restart, "restart")
        manager.add_restart_callback(self.dead.set, "dead")

    def _on_restart(self) -> None:
        self.restarts += 1
        self.changed.set()


async def pid_of(manager: AsyncIOLoopKernelManager) -> int:
    """The kernel's own word for its process."""
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        message = client.execute("", user_expressions={"pid": "__import__('os').getpid()"})
        while True:
            reply = await client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == message:
                return int(reply["content"]["user_expressions"]["pid"]["data"]["text/plain"])
    finally:
        client.stop_channels()


def test_a_killed_kernel_is_restarted_once(sshd: Sshd, remote_home: Path) -> None:
    write_spec("remote", sshd)

    async def work() -> None:
        manager = AsyncIOLoopKernelManager(kernel_name="remote")
        await manager.start_kernel()
        try:
            seen = Restarts(manager)
            agents = os.listdir(remote_home / STATE)
            before = await pid_of(manager)
            os.kill(before, signal.SIGKILL)
            await asyncio.wait_for(seen.changed.wait(), PATIENCE)
            while not await manager.is_alive():  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.05)
            after = await pid_of(manager)
            assert after != before
            # Two more looks of the restarter's.
            await asyncio.sleep(2.2 * manager._restarter.time_to_dead)
            assert await pid_of(manager) == after
            assert seen.restarts == 1
            assert not seen.dead.is_set()
            assert os.listdir(remote_home / STATE) == agents
        finally:
            await manager.shutdown_kernel()

    asyncio.run(work())


def test_the_restarter_gives_up_on_a_kernel_that_can_t_start_again(
    sshd: Sshd, remote_home: Path, clean: Leftovers
) -> None:
    broken = remote_home / "broken"
    write_spec("remote", sshd, setup=[f"test ! -e {broken}"])

    async def work() -> None:
        manager = AsyncIOLoopKernelManager(kernel_name="remote")
        manager._restarter  # noqa: B018  # made now, so that it can be set up
        await manager.start_kernel()
        try:
            manager._restarter.restart_limit = 2
            manager._restarter.time_to_dead = 0.5
            manager.stop_restarter()
            manager._restarter._pcallback = None
            manager.start_restarter()
            seen = Restarts(manager)
            broken.touch()
            os.kill(await pid_of(manager), signal.SIGKILL)
            await asyncio.wait_for(seen.dead.wait(), PATIENCE)
            assert seen.restarts == 2
            assert not await manager.is_alive()
        finally:
            broken.unlink()
            await manager.shutdown_kernel(now=True)

    asyncio.run(work())
