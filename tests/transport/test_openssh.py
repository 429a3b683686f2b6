"""The OpenSSH transport against a scripted ssh."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.ssh import config
from sshpyk.ssh.command import Destination
from sshpyk.transport import jobs, openssh, reconnecting, registry
from sshpyk.wire.channels import AGENT, CHANNELS
from sshpyk.wire.liveness import Patience
from tests.lab.fakessh import FakeSsh

PATIENCE = 30.0


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def test_one_transport_for_a_destination(ssh: FakeSsh) -> None:
    async def work() -> None:
        one = openssh.transport(ssh.destination())
        assert openssh.transport(ssh.destination()) is one
        assert openssh.transport(ssh.destination("other")) is not one

    run(work())


def test_transports_that_nobody_uses_are_forgotten_at_last(ssh: FakeSsh) -> None:
    async def work() -> None:
        used = openssh.transport(ssh.destination("used"))
        for number in range(3 * registry.MOST_REMEMBERED):
            openssh.transport(ssh.destination(f"host{number}"))
        gc.collect()
        assert len(openssh._transports) == registry.MOST_REMEMBERED + 1
        assert openssh.transport(ssh.destination("used")) is used

    run(work())


def test_a_login_that_takes_long_succeeds_at_last(ssh: FakeSsh) -> None:
    """Nobody has measured how long logins take here, as in a process that found a master."""
    ssh.script(login_seconds=1.2)

    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        transport._patience = Patience(first=0.5, longest=8.0)
        failures = 0
        while True:
            try:
                await asyncio.shield(transport.reconnect(None))
                break
            except errors.Unreachable:
                failures += 1
        assert failures == 3  # of half a second, one, half a second; then it has two
        assert await transport.answers()

    run(work())


def test_an_attempt_is_shared_and_its_pause_is_told(ssh: FakeSsh) -> None:
    ssh.script(login_says="ssh: connect to host fake port 22: Connection refused")

    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        first = transport.reconnect(None)
        assert transport.reconnect(None) is first
        with pytest.raises(errors.ConnectionRefused):
            await asyncio.shield(first)
        second = transport.reconnect(None)
        assert second is not first
        transport.hurry()
        with pytest.raises(errors.ConnectionRefused):
            await asyncio.shield(second)
        assert sum("-N" in call for call in ssh.calls) == 2

    run(work())


def test_where_a_person_is_needed_the_next_attempt_is_far(ssh: FakeSsh) -> None:
    ssh.script(login_says="fake: Permission denied (publickey,password).")

    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        with pytest.raises(errors.AuthenticationFailed):
            await asyncio.shield(transport.reconnect(None))
        waiting = transport.reconnect(None)
        loop = asyncio.get_running_loop()
        assert transport.next_try is not None
        assert transport.next_try - loop.time() > reconnecting.PERSON / 2
        ssh.script()
        # Somebody logs in, with another program: the transport sees it by itself.
        other = openssh.OpenSSH(ssh.destination())
        identity = await other.ensure(timeout=PATIENCE)
        assert await asyncio.shield(waiting) == identity

    run(work())


def test_a_configuration_that_is_never_read_is_an_error_of_ours(
    ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Python 3.10 too, where asyncio has a TimeoutError of its own."""
    ssh.script(config_seconds=60)
    monkeypatch.setattr(config, "TIMEOUT", 0.5)

    async def work() -> None:
        with pytest.raises(errors.SlowSshConfig) as caught:
            await openssh.OpenSSH(ssh.destination()).ensure(timeout=PATIENCE)
        assert f"{ssh.path} -G fake" in str(caught.value)

    run(work())


def test_programs_have_pipes_and_a_status(ssh: FakeSsh) -> None:
    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        async with transport.run("read line; echo got $line; echo oops >&2; exit 7") as program:
            program.write(b"this\n")
            output = b""
            while data := await program.read():
                output += data
            assert output == b"got this\n"
            assert await program.wait() == 7
            assert program.stderr == b"oops\n"

    run(work())


def test_a_program_ends_with_its_context(ssh: FakeSsh, tmp_path: Path) -> None:
    async def work() -> int:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        async with transport.run("echo $$; exec sleep 600") as program:
            pid = int(await program.read())
            os.kill(pid, 0)
        return pid

    pid = run(work())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


NO_ROOM = "mux_client_request_session: session request failed: Session open refused by peer"
ENDS = {
    NO_ROOM: errors.NoRoom,
    "ssh: connect to host fake port 22: Connection refused": errors.ConnectionRefused,
}


@pytest.mark.parametrize("text", ENDS)
def test_how_the_way_to_a_program_ends_is_a_typed_error(ssh: FakeSsh, text: str) -> None:
    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        ssh.script(session_says=text)
        async with transport.run("true") as program:
            assert await program.read() == b""
            with pytest.raises(ENDS[text]):
                await program.wait()

    run(work())


def test_a_lost_master_is_a_lost_connection(ssh: FakeSsh) -> None:
    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        assert await transport.master.exit()
        async with transport.run("true") as program:
            assert await program.read() == b""
            with pytest.raises(errors.ConnectionLost):
                await program.wait()

    run(work())


def test_a_job_waits_for_room(ssh: FakeSsh) -> None:
    """What the host had no room for is asked for again until it has."""

    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        ssh.script(session_says=NO_ROOM)
        request: Any = {"do": "probe", "id": "none"}
        python = os.environ.get("PYTHON", "python3")
        asking = asyncio.ensure_future(jobs.ask(transport, python, request))
        sessions = 0
        while sessions < 2:  # it has been refused, and has come again
            await asyncio.sleep(0.02)
            sessions = sum("-T" in call for call in ssh.calls)
        ssh.script()
        assert (await asking)["alive"] is False

    run(work())


def test_forwards_are_taken_back(ssh: FakeSsh, short_tmp: Path) -> None:
    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.put_nowait(await reader.read())
            writer.close()

        path = str(short_tmp / "agent.sock")
        server = await asyncio.start_unix_server(serve, path)
        dialer = await transport.dialer(dict.fromkeys((*CHANNELS, AGENT), path))
        assert dialer is not None

        class Hello(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transport.write(b"hello")
                transport.write_eof()

        await dialer.dial("shell", Hello)
        assert await heard.get() == b"hello"
        await dialer.close()
        with pytest.raises(OSError, match="taken back"):
            await dialer.dial("shell", Hello)
        assert any("cancel" in call for call in ssh.calls)
        server.close()
        ssh.script(refuses_forwards=True)
        assert await transport.dialer(dict.fromkeys((*CHANNELS, AGENT), path)) is None

    run(work())


def test_tcp_follows_unix_and_a_relay_follows_tcp(ssh: FakeSsh) -> None:
    async def work() -> None:
        transport = openssh.OpenSSH(ssh.destination())
        await transport.ensure(timeout=PATIENCE)
        assert transport.family == "unix"
        assert transport.refused("unix") == "tcp"
        transport.reached("tcp")
        assert transport.family == "tcp"
        assert transport.refused("tcp") == transport.family == "relay"
        transport.reached("unix")
        assert transport.family == "relay"
        # As one does that has begun before the other has found out.
        assert transport.refused("unix") == "relay"
        with pytest.raises(errors.NoForwarding):
            transport.refused("relay")
        assert transport.family == "unix"

    run(work())


def test_the_login_of_a_node_leads_to_that_node() -> None:
    """After a hop to another login node the name alone would lead a person somewhere else."""
    there = Destination("me@cluster", ssh_config="/etc/cluster config")
    login = openssh.OpenSSH(there).node("login7").login
    assert login.command == "ssh -F '/etc/cluster config' -o ProxyJump=me@cluster me@login7"
    way = "--ssh-config '/etc/cluster config' --node login7 me@cluster"
    assert login.connect == f"sshpyk connect {way}"
    assert login.copy_key.endswith("me@login7")
    assert login.ask.startswith("ssh -F")
