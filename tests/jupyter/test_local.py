"""The local sockets: one that a server accepts on and that blocks would stop all kernels."""

from __future__ import annotations

import gc
import os
import socket

import pytest

from sshpyk.jupyter.local import LocalSockets
from sshpyk.wire.channels import CHANNELS


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_duplicate_never_makes_a_serving_socket_block(
    transport: str, own_jupyter: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ip = "127.0.0.1" if transport == "tcp" else os.environ["JUPYTER_RUNTIME_DIR"] + "-kernel"
    local = LocalSockets(transport, ip, dict.fromkeys(CHANNELS, 0))
    serving = local.duplicates()  # as at the launch, by a server that then accepts on them
    seen: list[bool] = []
    made = socket.socket.settimeout

    def settimeout(sock: socket.socket, timeout: float | None) -> None:
        made(sock, timeout)
        seen.extend(os.get_blocking(one.fileno()) for one in serving.values())

    monkeypatch.setattr(socket.socket, "settimeout", settimeout)
    again = local.duplicates()  # as at a restart, in another thread
    assert len(seen) == len(CHANNELS) ** 2
    assert not any(seen)
    for sock in (*serving.values(), *again.values()):
        sock.close()
    local.close()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_manager_that_is_dropped_before_its_launch_leaves_no_socket(
    transport: str, own_jupyter: object
) -> None:
    runtime = os.environ["JUPYTER_RUNTIME_DIR"]
    ip = "127.0.0.1" if transport == "tcp" else f"{runtime}-kernel"

    class Manager:
        """Part of a circle, as managers and provisioners are: a collector's to clear away."""

        def __init__(self) -> None:
            self.me = self
            self.local = LocalSockets(transport, ip, dict.fromkeys(CHANNELS, 0))

    ports = Manager().local.ports
    gc.collect()  # what had not been closed would warn, which is an error here
    if transport == "ipc":
        assert not any(os.path.lexists(f"{ip}-{port}") for port in ports.values())
    else:
        for port in ports.values():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((ip, port))
