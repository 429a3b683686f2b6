"""The kernel's process: what a start that fails leaves open, and a kernel that takes nobody in."""

from __future__ import annotations

import errno
import gc
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sshpyk.agent.boot import Failed
from sshpyk.agent.kernel import Kernel, connect


def plan(directory: Path, *argv: str) -> Any:
    return SimpleNamespace(
        directory=str(directory),
        write_connection_file=lambda: None,
        argv=list(argv),
        env={**os.environ, "JPY_PARENT_PID": str(os.getpid())},
        cwd="/",
        addresses={},
        spec=SimpleNamespace(name="here"),
    )


def descriptors() -> set[str]:
    gc.collect()  # what others have left to it is not to go meanwhile
    return set(os.listdir("/proc/self/fd"))


def test_a_process_that_can_not_be_made_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    before = descriptors()
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(BlockingIOError):
        Kernel(plan(tmp_path, "/bin/true"), 0o77)
    assert descriptors() == before


def test_a_program_that_is_not_there_leaves_nothing_open(tmp_path: Path) -> None:
    before = descriptors()
    kernel = Kernel(plan(tmp_path, "/no/such/program"), 0o77)
    with pytest.raises(Failed) as caught:
        kernel.confirm()
    assert caught.value.fields["error"] == "program-missing"
    assert descriptors() == before


def full(path: Path) -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full, and those who wait in it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    waiting = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        waiting.append(sock)
        if sock.connect_ex(str(path)):
            return listener, waiting


@pytest.mark.timeout(20)
def test_sockets_whose_queues_are_full_are_there(short_tmp: Path) -> None:
    listener, waiting = full(short_tmp / "s")
    (short_tmp / "old").touch()
    kernel = Kernel(plan(short_tmp, "/bin/true"), 0o77)
    kernel.confirm()
    kernel.plan.addresses = {"hb": str(short_tmp / "s"), "shell": str(short_tmp / "old")}
    assert not kernel.check_bound()
    del kernel.plan.addresses["shell"]
    assert kernel.check_bound()
    with pytest.raises(BlockingIOError):
        connect(str(short_tmp / "s"))
    for sock in (listener, *waiting):
        sock.close()
    kernel.lose_sockets()
    assert not kernel.check_bound()
    with pytest.raises(ConnectionRefusedError):
        connect(str(short_tmp / "s"))
    os.waitpid(kernel.pid, 0)
    kernel.close()


def test_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sock, is_connected = connect(("127.0.0.1", port))
        assert is_connected
        sock.close()
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
