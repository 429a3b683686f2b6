"""A server's token, in a real life of a kernel there: it is in no place where others can read."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.link.thread import io_thread
from sshpyk.remotekernel import RemoteKernel, State, Status
from sshpyk.server import credentials, transport
from sshpyk.server import kernel as plain
from tests.faults.chain import tree
from tests.lab.kernels import PATIENCE, client_of, run_code
from tests.lab.link import Link
from tests.server.servers import remote, until_none, write_card


class Life:
    """What one kernel's life has said, up to now."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.statuses: list[Status] = []
        self._changed = threading.Condition()

    def take(self, status: Status) -> None:
        """A kernel's status, as browsers get it too."""
        with self._changed:
            self.statuses.append(status)
            self.said += [str(status), repr(status), str(status.to_json())]
            self._changed.notify_all()

    def until(self, is_so: Callable[[Status], bool]) -> None:
        """Wait until the last status is such."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_so(self.statuses[-1]), PATIENCE)


class Keep(logging.Handler):
    """Everything that is logged, and all that a handler can find in it."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.NOTSET)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said += [self.format(record), repr(vars(record))]


def kernel_of(manager: KernelManager) -> RemoteKernel:
    assert isinstance(manager.provisioner, SSHKernelProvisioner)
    assert manager.provisioner.kernel is not None
    return manager.provisioner.kernel


def server_of(kernel: RemoteKernel) -> object:
    return kernel.server  # type: ignore[attr-defined]  # both ways have one


def processes_of(ours: list[int]) -> list[str]:
    """The command lines and environments of `ours`, and the command lines of all others."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ") if int(pid) in ours else ("cmdline",):
            try:
                found.append(Path("/proc", pid, name).read_text("utf-8", "replace"))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("way", ["carried", "plain"])
def test_a_token_is_nowhere(
    way: str,
    tmp_path: Path,
    own_jupyter: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(plain, "FOR_A_PERSON", 0.2)
    monkeypatch.setattr(transport, "IDLE", 0.1)
    caplog.set_level(logging.DEBUG)
    life = Life()
    keep = Keep(life.said)
    logging.getLogger().addHandler(keep)
    wrong = secrets.token_hex(16)
    with remote(tmp_path) as server, Link(server.port) as link:
        there = len(server.log.read_text())  # what it says of itself when it starts is not ours
        url = f"http://127.0.0.1:{link.port}/"

        def give(token: str) -> None:
            credentials.keep(url, credentials.Secret(credentials.TOKEN, token))

        def start(manager: KernelManager) -> None:
            manager.log.setLevel(logging.DEBUG)
            manager.log.propagate = True
            manager.start_kernel()

        try:
            give(wrong)
            write_card("far", url, token_env=None, server_way=way, persistent=True)
            refused = KernelManager(kernel_name="far")
            with pytest.raises(Exception, match="does not accept the token") as failed:
                start(refused)
            life.said += traceback.format_exception(failed.value)
            give(server.token)
            manager = KernelManager(kernel_name="far")
            start(manager)
            kernel = kernel_of(manager)
            kernel.subscribe(life.take)
            life.take(kernel.status)
            with client_of(manager) as client:
                assert run_code(client, "print(1)") == "1\n"
                manager.interrupt_kernel()
                # The token is another's from now on; and after a while it is ours again.
                give(wrong)
                server_of(kernel)._secret = None  # type: ignore[attr-defined]
                link.cut()
                life.until(lambda status: isinstance(status.trouble, errors.NeedsPerson))
                life.said += traceback.format_exception(life.statuses[-1].trouble)
                give(server.token)
                io_thread().loop.call_soon_threadsafe(kernel.retry)
                life.until(lambda status: status.state is State.CONNECTED)
                assert run_code(client, "print(2)") == "2\n"
            manager.restart_kernel()
            with client_of(manager) as client:
                assert run_code(client, "print(3)") == "3\n"
            objects = [manager, manager.provisioner, kernel, server_of(kernel)]
            objects += [vars(kernel), vars(server_of(kernel)).get("address")]
            objects += [credentials.kept(url)]
            life.said += [text for thing in objects for text in (str(thing), repr(thing))]
            theirs = {os.getpid(), *tree(server.pid)}
            life.said += processes_of([pid for pid in tree(os.getpid()) if pid not in theirs])
            manager.provisioner.persistent = False  # type: ignore[union-attr]  # ours
            manager.shutdown_kernel()
            manager.context.destroy(linger=100)
            until_none(server)
        finally:
            logging.getLogger().removeHandler(keep)
        life.said.append(server.log.read_text()[there:])
        assert len(life.said) > 100
        for token in (server.token, wrong):
            for text in life.said:
                assert token not in text, text.replace(token, "TOKEN")
        holders = []
        for place in (own_jupyter, tmp_path):
            for path in place.rglob("*"):
                # The server's own files are no matter of ours.
                if path.is_file() and not path.name.startswith(("jpserver-", server.log.name)):
                    content = path.read_bytes()
                    if server.token.encode() in content or wrong.encode() in content:
                        assert path.stat().st_mode & 0o077 == 0, path
                        holders.append(path.name)
        assert credentials.path().rpartition("/")[2] in holders
