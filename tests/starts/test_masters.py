"""One master for a host: ours, or the user's own, whatever else the configuration says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager

from tests.lab.kernels import PATIENCE, run_code, started, write_spec
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd


def configure(server: Server, *lines: str, host: str = "sshd") -> None:
    """Put `lines` before all others of the server's entry in its ssh_config."""
    server.ssh_config.write_text(server.config_text(host, lines))


def runs(server: Server, **config: object) -> None:
    """A kernel starts, runs and ends."""
    write_spec("one", server, **config)
    with started("one") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"


def ask_master(server: Server, command: str, path: Path) -> int:
    """Run `ssh -O command` for the master at `path`; its exit status."""
    argv = ["ssh", "-F", "none", "-O", command, "-o", f'ControlPath="{path}"', "x"]
    return subprocess.run(argv, capture_output=True).returncode


@pytest.mark.parametrize(
    ("kind", "persist"), [("auto", "no"), ("auto", "5m"), ("yes", None), ("yes", "yes")]
)
def test_the_users_own_master(
    server: Server, own_runtime: Path, kind: str, persist: str | None
) -> None:
    path = own_runtime / "their own"
    lines = [f"ControlMaster {kind}", f'ControlPath "{path}"']
    configure(server, *lines, *([f"ControlPersist {persist}"] if persist else []))
    # It is there already, with a session of theirs in it.
    argv = ["ssh", "-F", str(server.ssh_config), "-o", "ControlPersist=yes", "sshd", "cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"begun\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"begun\n"
        runs(server)
        assert server.logins == 1
        session.stdin.write(b"still there\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"still there\n"
    assert ask_master(server, "check", path) == 0
    assert ask_master(server, "exit", path) == 0


@pytest.mark.parametrize("persist", ["yes", "no", None])
def test_the_users_master_is_made_where_they_want_it(
    server: Server, own_runtime: Path, persist: str | None
) -> None:
    lines = ["ControlMaster auto", f"ControlPath {own_runtime}/%r-%n"]
    configure(server, *lines, *([f"ControlPersist {persist}"] if persist else []))
    runs(server)
    runs(server)
    assert server.logins == 1
    assert ask_master(server, "exit", own_runtime / f"{server.user}-sshd") == 0


@pytest.mark.parametrize(
    "lines",
    [
        [
            *("LocalForward 1 localhost:1", "RemoteForward 1 localhost:1", "DynamicForward 1"),
            *("ForwardAgent yes", "Compression yes", "SendEnv LANG", "SetEnv ODD=yes"),
            *("ServerAliveInterval 1", "ConnectTimeout 5", "TCPKeepAlive no"),
            *("RequestTTY force", "LogLevel DEBUG"),
        ],
        [
            *("LocalForward 127.0.0.1:22 localhost:1", "ExitOnForwardFailure yes"),
            *("RemoteCommand sleep 60", "RequestTTY yes"),
        ],
        ["ForkAfterAuthentication yes", "StdinNull yes", "SessionType none"],
        [
            *("PermitLocalCommand yes", "LocalCommand touch %d/should-not-be"),
            *("ControlMaster ask", "ControlPath ~/nowhere/%C"),
        ],
        ["ControlMaster no", "ControlPath ~/nowhere/%C"],
    ],
    ids=lambda lines: lines[0],
)
def test_what_a_configuration_may_say(server: Server, lines: list[str]) -> None:
    configure(server, *lines)
    runs(server)
    assert server.logins == 1


def test_a_control_path_that_cannot_be(server: Server) -> None:
    from sshpyk import errors

    configure(server, "ControlMaster auto", "ControlPath /nowhere/%C", "ControlPersist yes")
    said = server.starting_fails(errors.HostError)
    assert "/nowhere/" in said


@pytest.mark.parametrize("host", ["user@host", "alias", "odd+alias.with-%_chars", "Ünï", "10.0.0"])
def test_names_of_hosts(server: Server, host: str) -> None:
    alias = host
    if host == "user@host":
        host = f"{server.user}@elsewhere"
        alias = "elsewhere"
    configure(server, host=alias)
    runs(server, ssh_host_alias=host)


def test_eight_at_once_share_one_login(server: Server) -> None:
    write_spec("many", server)

    async def start_all() -> None:
        managers = [AsyncKernelManager(kernel_name="many") for _ in range(8)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        alive = await asyncio.gather(*(manager.is_alive() for manager in managers))
        assert alive == [True] * 8
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in managers))

    asyncio.run(start_all())
    assert server.logins == 1


START_FOUR = """
import asyncio
from jupyter_client.manager import AsyncKernelManager

async def main():
    managers = [AsyncKernelManager(kernel_name="many") for _ in range(4)]
    await asyncio.gather(*(manager.start_kernel() for manager in managers))
    print([await manager.is_alive() for manager in managers].count(True), flush=True)
    await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in managers))

asyncio.run(main())
"""


@pytest.mark.parametrize("sessions", [10, 1])
def test_three_processes_share_one_login(new_server: NewServer, sessions: int) -> None:
    # With fewer sessions than are wanted at once, the rest wait for theirs: none logs in by itself.
    server = new_server(options=[f"MaxSessions {sessions}"])
    write_spec("many", server)
    argv = [sys.executable, "-W", "error", "-c", START_FOUR]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=os.environ) for _ in range(3)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert said == [b"4\n"] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert server.logins == 1


def test_the_master_stays_for_the_next_process(server: Server) -> None:
    write_spec("again", server)
    code = (
        "from jupyter_client.manager import KernelManager; m = KernelManager(kernel_name='again');"
        "m.start_kernel(); m.shutdown_kernel(now=True)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
    assert server.logins == 1
    manager = KernelManager(kernel_name="again")
    manager.start_kernel()
    manager.shutdown_kernel(now=True)
    assert server.logins == 1
