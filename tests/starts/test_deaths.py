"""Why a kernel died, as its user reads it: real kernels, and real limits."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from sshpyk import errors
from sshpyk.link.link import Link
from sshpyk.link.thread import io_thread
from sshpyk.wire import exits
from tests.cli.conftest import Call, sshpyk  # noqa: F401  # a fixture
from tests.lab.kernels import PATIENCE, link_of, run_code, started, write_spec
from tests.lab.memory import limited
from tests.starts.conftest import Server
from tests.starts.test_kernels import install

pytestmark = pytest.mark.sshd

#: A kernel of Python whose sh first does `line`.
KERNEL = "exec {python} -m ipykernel_launcher -f $0"


def add(server: Server, name: str, line: str) -> None:
    """A kernelspec on the host, and one here for it."""
    script = f"{line}; {KERNEL.format(python=sys.executable)}"
    install(server.home, name, "/bin/sh", "-c", script, "{connection_file}")
    write_spec(name, server, remote_kernel_name=name)


def exit_of(link: Link, client: BlockingKernelClient, code: str) -> Any:
    """How the kernel ended that was to run `code`."""
    client.execute(code)
    io_thread().submit(link.exit_seen()).result(PATIENCE)
    return link.exited


def test_a_real_limit_on_memory(server: Server, sshpyk: Call) -> None:  # noqa: F811
    """A cgroup of the test's own, into which the kernelspec's command moves: so it is skipped where
    this user may make none. Then `test_less_memory_is_no_death` is what is left, with `ulimit`."""
    with limited(300_000_000) as group:
        add(server, "limited", f"echo $$ > {group}/cgroup.procs")
        with started("limited") as (manager, client):
            link = link_of(manager)
            taken = "taken = bytearray(600_000_000); taken[::4096] = b'x' * len(taken[::4096])"
            exited = exit_of(link, client, taken)
            assert exited["signum"] == signal.SIGKILL
            assert exited["cause"]["kind"] == exits.MEMORY
            assert 200e6 < exited["cause"]["used"] < 301e6
            said = errors.describe_exit(exited)
            assert said.startswith("killed for want of memory: it used ")
            assert said.endswith(" MB of the 300.0 MB that the host allows it")
            assert link.status.to_json()["exited_text"] == said
            logged = sshpyk(
                "logs", link.agent.id, "--agent", "--ssh-config", str(server.ssh_config)
            )
            assert f"ended: {said}" in logged.out
            manager.restart_kernel()  # into the same limit, and the count goes on from there
            client.wait_for_ready(timeout=PATIENCE)
            exited = exit_of(link, client, "import os; os.kill(os.getpid(), 9)")
            assert exited["cause"]["kind"] == exits.KILLED
            assert exited["cause"]["kills"] == 0


def test_less_memory_is_no_death(server: Server) -> None:
    """`ulimit -v` lets a kernel live: what it asks for beyond that is a MemoryError."""
    add(server, "small", "ulimit -v 4000000")
    with started("small") as (manager, client):
        # What follows an error at once would be aborted.
        code = "bytearray(8_000_000_000)"
        reply = client.execute(code, stop_on_error=False, reply=True, timeout=PATIENCE)
        assert reply["content"]["ename"] == "MemoryError"
        assert run_code(client, "print(1)") == "1\n"
        assert link_of(manager).exited is None


def test_a_segmentation_fault_names_its_place(server: Server) -> None:
    write_spec("faulty", server)
    with started("faulty") as (manager, client):
        fault = "import ctypes; ctypes.string_at(0)"
        exited = exit_of(link_of(manager), client, fault)
        assert exited["signum"] == signal.SIGSEGV
        said = errors.describe_exit(exited)
        assert said.startswith("a segmentation fault (signal 11) ")
        assert "ctypes/__init__.py (string_at)" in said or " in lib" in said


def test_what_its_own_agent_ended_is_no_riddle(server: Server) -> None:
    write_spec("ended", server)
    with started("ended") as (manager, client):
        link = link_of(manager)
        pid = int(run_code(client, "import os; print(os.getpid())"))
        io_thread().submit(link.signal(signal.SIGKILL)).result(PATIENCE)
        io_thread().submit(link.exit_seen()).result(PATIENCE)
        assert link.exited is not None
        assert errors.describe_exit(link.exited) == "ended by its agent (signal 9)"
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
