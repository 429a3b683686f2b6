"""Connections over a relay: a real one, by an ssh of ours, to sockets as an agent has them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sshpyk import errors
from sshpyk.aio import within
from sshpyk.transport import openssh, relay
from sshpyk.transport.jobs import Job
from sshpyk.transport.openssh import OpenSSH
from sshpyk.transport.relay import HIGH, Relay, RelayConnection, RelayDialer
from sshpyk.wire.mux import WINDOW
from tests.lab.fakessh import FakeSsh

if TYPE_CHECKING:
    from sshpyk.wire.requests import RelayRequest

PATIENCE = 30.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An agent that says what it hears."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


class End(asyncio.Protocol):
    """What a connection's protocol has heard."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, RelayConnection)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await within(PATIENCE, self.changed.wait())


class Clock:
    """A loop's, that is set by hand."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.now


class Host:
    """A relay by `python` of a host, and how to reach an agent that serves its clients so."""

    def __init__(self, transport: OpenSSH, python: str) -> None:
        self.transport = transport
        transport.python = (python, None)
        transport.unreached()
        self.stack = contextlib.AsyncExitStack()

    async def agent(self, serve: Serve) -> str:
        """The path where it listens."""
        context = tempfile.TemporaryDirectory(prefix="sshpyk-", dir="/tmp")
        path = os.path.join(self.stack.enter_context(context), "shell.sock")
        clients: list[asyncio.Task[Any] | None] = []

        async def serve_and_close(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            clients.append(asyncio.current_task())
            with contextlib.suppress(ConnectionError):
                await serve(reader, writer)
                writer.close()
                await writer.wait_closed()

        async def end() -> None:
            server.close()
            await within(PATIENCE, asyncio.gather(*(task for task in clients if task)))

        server = await asyncio.start_unix_server(serve_and_close, path)
        self.stack.push_async_callback(end)
        return path

    async def dialer(self, path: str | int) -> RelayDialer:
        dialer = await self.transport.dialer({"shell": path})
        assert isinstance(dialer, RelayDialer)
        self.stack.push_async_callback(dialer.close)
        return dialer

    async def connect(self, serve: Serve) -> End:
        return await connect(await self.dialer(await self.agent(serve)))

    @property
    def relay(self) -> Relay:
        assert self.transport._shared.relay is not None
        return self.transport._shared.relay

    @property
    def pid(self) -> int:
        program: Any = self.relay._program
        return int(program._process.pid)


async def connect(dialer: RelayDialer) -> End:
    end = End()
    await dialer.dial("shell", lambda: end)
    return end


@contextlib.asynccontextmanager
async def host(ssh: FakeSsh, python: str = sys.executable) -> AsyncIterator[Host]:
    transport = openssh.transport(ssh.destination())
    await transport.ensure(timeout=PATIENCE)
    host = Host(transport, python)
    async with host.stack:
        yield host


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await within(2 * PATIENCE, work())

    asyncio.run(all_of_it())


def test_bytes_go_both_ways_and_a_close_comes_after_them(ssh: FakeSsh) -> None:
    async def work() -> None:
        heard = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            heard.set_result(await reader.read())

        async with host(ssh) as there:
            end = await there.connect(serve)
            assert end.transport.get_extra_info("socket", "none") == "none"
            end.transport.write(b"hello")
            await end.wait(lambda: end.data == b"hello")
            end.transport.write(b"x" * 1_000_000)
            end.transport.close()
            assert end.transport.is_closing()
            end.transport.write(b"not sent")
            assert await within(PATIENCE, heard) == b"x" * 1_000_000
            assert await within(PATIENCE, end.lost) is None

    run(work)


def test_who_writes_much_is_told_to_pause(ssh: FakeSsh) -> None:
    async def work() -> None:
        may_read = asyncio.Event()
        block = os.urandom(1 << 20)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_read.wait()
            await echo(reader, writer)

        async with host(ssh) as there:
            end = await there.connect(serve)
            written = 0
            while end.transport.get_write_buffer_size() <= HIGH or written < 2 * WINDOW:
                end.transport.write(block)
                written += len(block)
                await asyncio.sleep(0)
            assert end.calls[-1] == "pause"
            may_read.set()
            await end.wait(lambda: end.calls[-1] == "resume")
            assert end.transport.get_write_buffer_size() <= HIGH
            await end.wait(lambda: len(end.data) == written)
            assert end.data == block * (written // len(block))

    run(work)


def test_an_abort_waits_for_nothing(ssh: FakeSsh) -> None:
    async def work() -> None:
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while await reader.read(1 << 16):
                    pass
            over.set()

        async with host(ssh) as there:
            end = await there.connect(serve)
            end.transport.write(bytes(2 * WINDOW))
            end.transport.abort()
            assert await within(PATIENCE, end.lost) is None
            await within(PATIENCE, over.wait())

    run(work)


def test_what_an_agent_said_before_it_closed_arrives(ssh: FakeSsh) -> None:
    async def work() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"y" * 3_000_000)

        async with host(ssh) as there:
            end = await there.connect(serve)
            assert await within(PATIENCE, end.lost) is None
            assert end.data == b"y" * 3_000_000

    run(work)


def test_where_no_agent_listens(ssh: FakeSsh) -> None:
    """The relay says why, and serves the others as before."""

    async def work() -> None:
        async with host(ssh) as there:
            end = await there.connect(echo)
            for address, why in (("/tmp/sshpyk-not-there/shell.sock", "No such file"), (9, "port")):
                other = await connect(await there.dialer(address))
                error = await within(PATIENCE, other.lost)
                assert isinstance(error, ConnectionRefusedError)
                assert why in str(error)
            end.transport.write(b"still here")
            await end.wait(lambda: end.data == b"still here")

    run(work)


def test_a_relay_that_answers_is_shared_and_a_stopped_one_is_not(ssh: FakeSsh) -> None:
    async def work() -> None:
        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with host(ssh) as there:
            end, silent = await there.connect(echo), await there.connect(say_nothing)
            first = there.relay
            clock = Clock()
            first._loop = clock  # type: ignore[assignment]  # all that it is asked is the time
            clock.now += relay.PING_AFTER + 1
            silent.transport.write(b"no answer to this")
            end.transport.write(b"1")
            await end.wait(lambda: end.data == b"1")  # and with it the answer to the ping
            clock.now += relay.SILENT + 1
            assert first.is_usable(there.transport.identity())
            await there.connect(echo)
            assert there.relay is first
            pid = there.pid
            os.kill(pid, signal.SIGSTOP)
            silent.transport.write(b"nor to this")
            clock.now += relay.SILENT + 1
            other = await there.connect(echo)
            assert there.relay is not first
            other.transport.write(b"2")
            await other.wait(lambda: other.data == b"2")
            os.kill(pid, signal.SIGCONT)

    run(work)


def test_more_programs_carry_what_brings_much_from_afar(ssh: FakeSsh) -> None:
    async def work() -> None:
        async with host(ssh) as there:
            dialer = await there.dialer(await there.agent(echo))
            one, two = End(), End()
            await dialer.dial("shell", lambda: one)
            assert dialer.carriers == 1  # nobody knows how far it is
            one.transport.write(b"1")
            await one.wait(lambda: one.data == b"1")
            first = there.relay
            first.round_trip = relay.FAR / 2
            assert dialer.carriers == 1
            first.round_trip = 2 * relay.FAR
            assert dialer.carriers == 1 + relay.MORE
            await dialer.dial_more("shell", lambda: two, 1)
            two.transport.write(b"2")
            await two.wait(lambda: two.data == b"2")
            [more] = first._more.values()
            program: Any = more._program
            assert program._process.pid != there.pid
            # One that is stopped has all of them begin anew: its bytes may be in it.
            os.kill(program._process.pid, signal.SIGSTOP)
            clock = Clock()
            first._loop = more._loop = clock  # type: ignore[assignment]  # as above
            clock.now += relay.PING_AFTER + 1
            one.transport.write(b"3")
            await one.wait(lambda: one.data == b"13")
            clock.now += relay.SILENT + 1
            assert not first.is_over
            one.transport.write(b"4")
            assert "does not answer" in str(await within(PATIENCE, one.lost))
            os.kill(program._process.pid, signal.SIGCONT)

    run(work)


def test_where_there_is_no_room_for_more_one_carries_it(ssh: FakeSsh) -> None:
    async def no_room() -> Relay:
        raise errors.NoRoom(host="it", details="")

    async def work() -> None:
        async with host(ssh) as there:
            dialer = await there.dialer(await there.agent(echo))
            there.relay.round_trip = 1.0
            there.relay._again = no_room
            with pytest.raises(OSError, match="no further session"):
                await dialer.dial_more("shell", End, 1)
            assert dialer.carriers == 1

    run(work)


def test_it_ends_with_its_last_dialer(ssh: FakeSsh) -> None:
    async def work() -> None:
        async with host(ssh) as there:
            path = await there.agent(echo)
            one, other = await there.dialer(path), await there.dialer(path)
            pid = there.pid
            end = await connect(other)
            await one.close()
            end.transport.write(b"1")
            await end.wait(lambda: end.data == b"1")
            await other.close()
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
            with pytest.raises(ConnectionAbortedError):
                await connect(other)

    run(work)


def test_one_that_was_begun_ahead(ssh: FakeSsh) -> None:
    """It is the dialers', ends without any, and makes room for the launch."""

    async def work() -> None:
        async with host(ssh) as there:
            path = await there.agent(echo)
            async with there.transport.ahead(sys.executable, None):
                await asyncio.sleep(0)  # it begins in a task
                dialer = await there.dialer(path)
                pid = there.pid
                assert len(there.relay.dialers) == 2
            end = await connect(dialer)
            end.transport.write(b"1")
            await end.wait(lambda: end.data == b"1")
            await dialer.close()
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

            async with there.transport.ahead(sys.executable, None) as give_way:
                await asyncio.sleep(0)
                async with there.transport._shared._lock:
                    pid = there.pid
                ssh.script(session_says="mux_client_request_session: session request failed: no")
                request: RelayRequest = {"do": "relay", "is_watched": False}
                async with Job(there.transport, sys.executable, request) as job:

                    def no_room() -> None:
                        give_way()
                        ssh.script()

                    job.on_no_room = no_room
                    await job.answer()
                await asyncio.gather(*there.transport._shared._holding, return_exceptions=True)
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

    run(work)


def test_noise_ends_it_and_is_named(ssh: FakeSsh, short_tmp: Path) -> None:
    """A login shell's background job writes where the relay does: nobody can tell them apart."""
    flag = short_tmp / "flag"
    python = short_tmp / "python"
    noise = f"while [ ! -e {flag} ]; do sleep 0.05; done; echo You have mail"
    python.write_text(f'#!/bin/sh\n({noise}) &\nexec {sys.executable} "$@"\n')
    python.chmod(stat.S_IRWXU)

    async def work() -> None:
        async with host(ssh, str(python)) as there:
            end = await there.connect(echo)
            end.transport.write(b"1")
            await end.wait(lambda: end.data == b"1")
            flag.touch()
            error = await within(PATIENCE, end.lost)
            assert isinstance(error, ConnectionAbortedError)
            assert "You have mail" in str(error)
            again = await there.connect(echo)
            again.transport.write(b"2")
            await again.wait(lambda: again.data == b"2")

    run(work)


def test_a_python_that_is_gone_is_asked_for_no_more(ssh: FakeSsh) -> None:
    async def work() -> None:
        async with host(ssh, "/no/such/python") as there:
            with pytest.raises(errors.RemoteError):
                await there.dialer("/tmp/sshpyk-x/shell.sock")
            # Then the agent's own is looked for, by a probe.
            assert await there.transport.dialer({"shell": "/tmp/sshpyk-x/shell.sock"}) is None

    run(work)


def test_no_session_is_left_for_it(ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BEGIN_WITHIN", 0.5)

    async def work() -> None:
        async with host(ssh) as there:
            ssh.script(session_says="mux_client_request_session: session request failed: refused")
            with pytest.raises(errors.NoForwarding, match="MaxSessions"):
                await there.dialer("/tmp/sshpyk-x/shell.sock")

    run(work)
