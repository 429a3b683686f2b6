"""Another user of the same machine, at either end of a running link, sees and steers nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from tests.lab.kernels import STATE, client_of, link_of, run_code, write_spec
from tests.lab.sshd import Sshd
from tests.security.conftest import Intruder

pytestmark = pytest.mark.sshd


@dataclass
class Running:
    """A persistent kernel of ours, with a client, and where its things are."""

    manager: KernelManager
    client: BlockingKernelClient
    home: Path
    here: Path

    @property
    def provisioner(self) -> SSHKernelProvisioner:
        assert isinstance(self.manager.provisioner, SSHKernelProvisioner)
        return self.manager.provisioner

    @property
    def record(self) -> dict[str, object]:
        (path,) = (self.home / STATE).glob("*/record.json")
        content: dict[str, object] = json.loads(path.read_text())
        return content

    @property
    def secrets(self) -> list[str]:
        """The HMAC key and the token."""
        return [self.manager.session.key.decode(), link_of(self.manager).agent.token]


@pytest.fixture(scope="module")
def running(open_directory: Path) -> Iterator[Running]:
    """The kernel, over a real sshd, local transport "ipc". Every directory above is open to all."""
    here, home = open_directory, open_directory / "home"
    home.mkdir(mode=0o755)
    with pytest.MonkeyPatch.context() as patch, Sshd(home=home) as server:
        for name in ("RUNTIME", "DATA", "CONFIG"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(here / name.lower()))
        (here / "runtime").mkdir(mode=0o755)
        patch.setenv("XDG_RUNTIME_DIR", str(here))
        old = os.umask(0o000)  # nothing must rely on a kind umask
        try:
            write_spec("mine", server, persistent=True)
            manager = KernelManager(kernel_name="mine", transport="ipc")
            manager.connection_file = str(here / "runtime" / "kernel.json")
            manager.start_kernel()
            try:
                with client_of(manager) as client:
                    yield Running(manager, client, home, here)
            finally:
                manager.provisioner.persistent = False  # type: ignore[union-attr]  # ours
                manager.shutdown_kernel()
                manager.context.destroy(linger=100)
        finally:
            os.umask(old)


CONNECT = """
import socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print("connected to", path)
    except OSError as error:
        assert error.errno in (13, 2), error  # Permission denied; or not even that it exists
"""


def sockets_under(directory: Path | str) -> list[str]:
    """The paths of all sockets in a directory's tree."""
    return [
        os.path.join(place, name)
        for place, _, names in os.walk(directory)
        for name in names
        if stat.S_ISSOCK(os.lstat(os.path.join(place, name)).st_mode)
    ]


def test_cannot_connect_to_the_kernels_and_the_agents_sockets(
    running: Running, intruder: Intruder
) -> None:
    sockets = sockets_under(str(running.record["sockets"]))
    assert len(sockets) >= 11, "five of the kernel, six of the agent"
    assert intruder.run(CONNECT, *sockets) == ""


def test_cannot_connect_to_the_local_ipc_sockets(running: Running, intruder: Intruder) -> None:
    sockets = sockets_under(running.here / "runtime")
    assert len(sockets) == 5
    assert intruder.run(CONNECT, *sockets) == ""
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in sockets)


def test_cannot_connect_to_the_master_and_the_forwards(
    running: Running, intruder: Intruder
) -> None:
    sockets = sockets_under(running.here / "sshpyk")
    assert len(sockets) >= 7, "the master's and six forwards"
    assert intruder.run(CONNECT, *sockets) == ""


READ = """
import os, sys
for path in sys.argv[1:]:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").read()
        print("read", path)
    except PermissionError:
        pass
    try:
        if os.path.isdir(path):
            open(os.path.join(path, "planted"), "w")
        else:
            open(path, "ab")
        print("wrote", path)
    except PermissionError:
        pass
"""


def test_cannot_read_connection_persistence_spool_and_log_files(
    running: Running, intruder: Intruder
) -> None:
    (directory,) = (path for path in (running.home / STATE).iterdir() if path.is_dir())
    names = {path.name for path in directory.iterdir()}
    assert {"record.json", "connection.json", "agent.log", "kernel.log"} <= names
    (directory / "spool-99").write_bytes(b"as the spool would be")
    ours = [str(path) for path in directory.iterdir()]
    ours += [str(running.here / "runtime" / "kernel.json"), running.provisioner.persistence_path]
    ours += [str(directory), str(running.home / STATE), str(running.record["sockets"])]
    assert intruder.run(READ, *ours) == ""
    for path in (directory, running.home / STATE, Path(str(running.record["sockets"]))):
        assert path.stat().st_mode & 0o777 == 0o700


def test_every_file_of_ours_is_closed_to_others_whatever_the_umask(running: Running) -> None:
    (directory,) = (path for path in (running.home / STATE).iterdir() if path.is_dir())
    for path in directory.iterdir():
        if not path.name.startswith("spool"):  # planted by the test before
            assert path.stat().st_mode & 0o077 == 0, path


SEE = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            text = open(f"/proc/{pid}/{name}", "rb").read()
        except OSError:
            continue
        for secret in SECRETS:
            if secret in text:
                print(pid, name)
"""


def test_sees_no_secret_in_any_process(running: Running, intruder: Intruder) -> None:
    # Backwards in the intruder's own program, which must not find itself.
    backwards = [secret[::-1].encode() for secret in running.secrets]
    code = f"SECRETS = [text[::-1] for text in {backwards!r}]\n" + SEE
    assert intruder.run(code) == ""


def test_no_process_has_a_secret_even_for_root(running: Running) -> None:
    seen = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                text = Path("/proc", pid, name).read_bytes()
            except OSError:
                continue
            seen += 1
            for secret in running.secrets:
                assert secret.encode() not in text, f"{name} of {pid}"
    assert seen > 10


def test_cannot_signal_the_kernel_or_its_agent(running: Running, intruder: Intruder) -> None:
    pids = [running.record["agent_pid"], running.record["kernel"]["pid"]]  # type: ignore[index]
    code = "import os, sys\nfor pid in sys.argv[1:]:\n    try: os.kill(int(pid), 9); print(pid)\n"
    assert intruder.run(code + "    except PermissionError: pass", *pids) == ""


def test_the_kernel_goes_on_after_all_that(running: Running) -> None:
    assert run_code(running.client, "print(1 + 1)") == "2\n"
