"""Servers that forward nothing: all goes over one session."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager

from sshpyk import errors
from sshpyk.cli import main
from sshpyk.private import runtime_directory
from sshpyk.transport import jobs, openssh, recall, relay
from tests.lab.kernels import PATIENCE, left_behind, link_of, run_code, started, write_spec
from tests.lab.sshd import Sshd
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd

NOTHING = "DisableForwarding yes"

FLOOD = """
while True:
    print("x" * 1_000_000)
"""


def sessions(server: Server) -> int:
    """How many there are at this moment."""
    log = server.log.read_text()
    return log.count("Starting session") - log.count("Close session")


def test_kernels_share_a_relay(new_server: NewServer) -> None:
    server = new_server(options=[NOTHING])
    write_spec("relayed", server)
    with started("relayed") as (manager, one), started("relayed") as (other_manager, other):
        assert run_code(one, "print(1)") + run_code(other, "print(2)") == "1\n2\n"
        manager.restart_kernel()
        one.wait_for_ready(timeout=PATIENCE)
        size = 10_000_000
        assert len(run_code(one, f"print('x' * {size})")) == size + 1
        request = one.execute(FLOOD)
        while one.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
            pass
        assert run_code(other, "print('meanwhile')") == "meanwhile\n"
        manager.interrupt_kernel()
        while (reply := one.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != request:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        transport = link_of(manager).transport
        assert transport is link_of(other_manager).transport
        deadline = time.monotonic() + PATIENCE
        while sessions(server) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)  # it logs the ends of the jobs' sessions a little later
        assert sessions(server) == 1
        assert isinstance(transport, openssh.OpenSSH)
        assert recall.recall(transport.master.name)[0] == "relay"


def test_two_sessions_are_enough(new_server: NewServer) -> None:
    """One for the relay, one for whatever else there is to be done."""
    server = new_server(options=[NOTHING, "MaxSessions 2"])
    write_spec("relayed", server)
    with started("relayed") as (_, one), started("relayed") as (_, other):
        assert run_code(one, "print(1)") + run_code(other, "print(2)") == "1\n2\n"


class Beside:
    """Lets no launch have its answer before a relay has given its own.

    So where a relay waited for the launch, no start of this process would come to an end.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.relays = 0
        self.lets_go = True  # whether launches go on then
        self.is_held = threading.Event()  # one that does not
        self._has_begun = asyncio.Event()
        answer = jobs.Job.answer

        async def answer_in_order(job: jobs.Job) -> dict[str, Any]:
            does = job._request["do"]
            try:
                return await answer(job)
            finally:
                if does == "relay":
                    self.relays += 1
                    self._has_begun.set()
                elif does == "launch":
                    await self._has_begun.wait()
                    if not self.lets_go:
                        self.is_held.set()
                        await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(jobs.Job, "answer", answer_in_order)

    def reset(self) -> None:
        """The next launch waits for a relay of its own."""
        self.relays = 0
        self._has_begun.clear()


def known_server(new_server: NewServer, *options: str) -> Server:
    """One of which an earlier process has found out that it forwards nothing."""
    server = new_server(options=[NOTHING, *options])
    write_spec("relayed", server)
    with started("relayed"):
        pass
    openssh.forget_all()
    return server


def test_a_host_that_forwards_no_more(new_server: NewServer) -> None:
    """A start that does not wait to see whether it does goes on by a relay."""
    known_server(new_server)
    (known,) = Path(runtime_directory()).glob(f"*{recall.SUFFIX}")
    known.write_text("unix")
    with started("relayed") as (manager, client):
        link = link_of(manager)
        deadline = time.monotonic() + PATIENCE
        while link.streams.attachment.generation == 1 or not link.streams.is_connected:
            assert time.monotonic() < deadline
            assert run_code(client, "print(1)") == "1\n"
        assert link.transport.family == "relay"
        assert run_code(client, "print(2)") == "2\n"
    with started("relayed") as (_, client):
        assert run_code(client, "print(3)") == "3\n"


def test_a_relay_is_begun_beside_the_launch(
    new_server: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And there is one, which ends where the launch fails or is cancelled."""
    server = known_server(new_server, "MaxSessions 2")
    beside = Beside(monkeypatch)
    with started("relayed") as (_, client):
        assert run_code(client, "print(1)") == "1\n"
    assert beside.relays == 1
    server.leftovers.assert_clean()

    beside.reset()
    server.starting_fails(errors.NoKernelspec, remote_kernel_name="cobol")
    assert beside.relays == 1

    async def cancel() -> None:
        start = asyncio.ensure_future(AsyncKernelManager(kernel_name="relayed").start_kernel())
        assert await asyncio.to_thread(beside.is_held.wait, PATIENCE)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    beside.reset()
    beside.lets_go = False
    asyncio.run(cancel())
    assert beside.relays == 1
    server.leftovers.assert_clean()


def test_one_session_is_not(new_server: NewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BEGIN_WITHIN", 1.0)
    server = new_server(options=[NOTHING, "MaxSessions 1"])
    said = server.starting_fails(errors.NoForwarding)
    assert said.startswith("The ssh server of sshd does not allow forwarding")
    assert "MaxSessions" in said


def test_another_process_attaches(tmp_path: Path) -> None:
    """It finds out by itself that the agent is there and nothing is forwarded to it."""
    with Sshd(home=tmp_path, options=[NOTHING]) as server:
        write_spec("relayed", server, persistent=True, session="mine")
        with started("relayed") as (manager, client):
            run_code(client, "x = 1")
            before = link_of(manager).transport
        assert isinstance(before, openssh.OpenSSH)
        recall.forget(before.master.name)  # it may be on another machine
        openssh.forget_all()
        with started("relayed") as (manager, client):
            assert run_code(client, "print(x)") == "1\n"
            assert link_of(manager).transport is not before
            assert link_of(manager).transport.family == "relay"
            manager.provisioner.persistent = False  # type: ignore[union-attr]  # ours
    # Logs of a kernel with a session are kept; what has none of these names is left of a live one.
    assert all(name.endswith((".log", ".jsonl")) for name in left_behind(tmp_path))


def test_what_a_host_refuses_is_believed_for_a_day(
    sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    """And then looked at, so that one that forwards again is reached by forwards again."""
    write_spec("far", sshd)

    def reached_by(family: str) -> str:
        """The file that says so, after a start of a process to which all else is new."""
        openssh.forget_all()
        with started("far") as (manager, _):
            transport = link_of(manager).transport
            assert isinstance(transport, openssh.OpenSSH)
            assert transport.family == family
        return recall._path(transport.master.name)

    path = reached_by("unix")
    capsys.readouterr()
    main(["list", "--remote", "--no-check", "--json"])
    checks = json.loads(capsys.readouterr().out)[0]["checks"]
    assert {"mark": "i", "what": "Reached By", "text": recall.WORDS["unix"]} in checks
    Path(path).write_text("relay")
    assert reached_by("relay") == path
    long_ago = time.time() - recall.BELIEVED
    os.utime(path, (long_ago, long_ago))
    reached_by("unix")
    assert Path(path).read_text() == "unix"
