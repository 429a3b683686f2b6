"""Leaving a kernel and coming back: the job goes on, whoever went, and however."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.jupyter import persistence
from sshpyk.transport.openssh import OpenSSH
from tests.lab.kernels import (
    PATIENCE,
    STATE,
    client_of,
    left_behind,
    link_of,
    run_code,
    started,
    write_spec,
)
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd

#: A job that goes on by itself: a line more in the file `ticks` every 20 ms, until it is told.
COUNT = """
import itertools, os, pathlib, time
marks = pathlib.Path({path!r})
for tick in itertools.count():
    with open(marks, "a") as file:
        print(tick, file=file)
    if os.path.exists({path!r} + ".enough"):
        break
    time.sleep(0.02)
"""


class Job:
    """A job that counts into a file, so that nobody need be attached to see it go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.code = COUNT.format(path=str(path))

    @property
    def ticks(self) -> int:
        return len(self.path.read_text().splitlines()) if self.path.exists() else 0

    def goes_on(self) -> bool:
        """Whether it counts further, soon."""
        return self.reaches(self.ticks + 3)

    def reaches(self, wanted: int) -> bool:
        deadline = time.monotonic() + PATIENCE / 4
        while self.ticks < wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)  # what it waits for is a file in the making
        return True

    def enough(self) -> None:
        self.path.with_name(self.path.name + ".enough").touch()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "ticks")


def saved_file(manager: KernelManager) -> str:
    path: str = manager.provisioner.persistence_path  # type: ignore[union-attr]
    return path


@contextlib.contextmanager
def attached(name: str, file: str, **traits: object) -> Iterator[KernelManager]:
    """A manager that comes back to the kernel of a persistence file; it leaves at the end."""
    manager = KernelManager(kernel_name=name)
    config = manager.kernel_spec.metadata["kernel_provisioner"]["config"]  # type: ignore[union-attr]
    config.update({"existing": file, "persistent": True, **traits})
    manager.start_kernel()
    try:
        yield manager
    finally:
        if manager.has_kernel:
            manager.shutdown_kernel()
        manager.context.destroy(linger=100)


def stop(manager: KernelManager) -> None:
    """End a persistent kernel for good."""
    manager.provisioner.persistent = False  # type: ignore[union-attr]
    manager.shutdown_kernel()


def test_leaving_does_not_interrupt_and_is_quick(sshd: Sshd, remote_home: Path, job: Job) -> None:
    write_spec("stays", sshd, persistent=True, shutdown_timeout=30)
    with started("stays") as (manager, client):
        run_code(client, "here = 'still'")
        client.execute(job.code)
        assert job.reaches(3)
        file = saved_file(manager)
        begun = time.monotonic()
        manager.shutdown_kernel()
        # Waiting for the kernel's end would take twice this.
        assert time.monotonic() - begun < 30.0
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert json.loads(Path(file).read_text())["host"]["host"] == sshd.host
    assert job.goes_on()
    with attached("stays", file) as manager:
        assert job.goes_on()  # coming back does not disturb it
        job.enough()
        with client_of(manager) as client:
            assert run_code(client, "print(here)") == "still\n"
        stop(manager)
    assert not os.path.exists(file)
    assert [name for name in left_behind(remote_home) if "." not in name] == []


@pytest.mark.parametrize("now", [False, True])
def test_every_shutdown_leaves(sshd: Sshd, job: Job, now: bool) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (manager, client):
        client.execute(job.code)
        assert job.reaches(3)
        file = saved_file(manager)
        manager.shutdown_kernel(now=now)
    assert job.goes_on()
    job.enough()
    with attached("stays", file) as manager:
        stop(manager)


@pytest.mark.parametrize("now", [False, True])
def test_restarting_a_persistent_kernel_restarts_it(sshd: Sshd, job: Job, now: bool) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (manager, client):
        run_code(client, "here = 1")
        client.execute(job.code)
        assert job.reaches(3)
        manager.restart_kernel(now=now)
        with client_of(manager) as again:
            assert run_code(again, "print('here' in globals())") == "False\n"
        stop(manager)


def test_interrupting_a_persistent_kernel_interrupts_it(sshd: Sshd, job: Job) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (manager, client):
        request = client.execute(job.code)
        assert job.reaches(3)
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=PATIENCE))["parent_header"][
            "msg_id"
        ] != request:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        stop(manager)


CLIENT = """
import sys
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="stays")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute(sys.stdin.read())
print(manager.provisioner.persistence_path, flush=True)
import time
time.sleep(1000)
"""


def vanished_client(job: Job) -> str:
    """Another process starts a kernel and the job, and is killed; the persistence file."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(job.code)
        process.stdin.close()
        file = process.stdout.readline().strip()
        assert job.reaches(3)
        process.send_signal(signal.SIGKILL)
    return file


def test_after_the_client_was_killed(sshd: Sshd, job: Job) -> None:
    write_spec("stays", sshd, persistent=True)
    file = vanished_client(job)
    assert job.goes_on()
    with attached("stays", file) as manager:
        assert job.goes_on()
        job.enough()
        with client_of(manager) as client:
            assert run_code(client, "print(tick == len(open(marks).readlines()) - 1)") == "True\n"
        stop(manager)


def master_of(server: Sshd, manager: KernelManager) -> int:
    """The process of the ssh master that the kernel's link uses."""
    transport = link_of(manager).transport
    assert isinstance(transport, OpenSSH)
    path = transport.master._control_path
    argv = [
        "ssh",
        "-F",
        str(server.ssh_config),
        "-o",
        f"ControlPath={path}",
        "-O",
        "check",
        server.host,
    ]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE).stderr
    return int(said.partition("pid=")[2].partition(")")[0])


def test_after_the_master_died(sshd: Sshd, job: Job) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (manager, client):
        client.execute(job.code)
        assert job.reaches(3)
        file = saved_file(manager)
        master = master_of(sshd, manager)
        manager.shutdown_kernel()
    os.kill(master, signal.SIGKILL)
    with attached("stays", file) as manager:
        assert job.goes_on()
        job.enough()
        with client_of(manager) as client:
            run_code(client, "pass")
        stop(manager)


def test_two_clients_see_the_same_kernel(sshd: Sshd, job: Job) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (first, one):
        file = saved_file(first)
        with attached("stays", file) as second, client_of(second) as two:
            run_code(one, "shared = 'by the first'")
            assert run_code(two, "print(shared)") == "by the first\n"
            one.execute(job.code)
            assert job.reaches(3)
            second.shutdown_kernel()
        assert job.goes_on()  # one of two has left
        job.enough()
        run_code(one, "pass")
        stop(first)


def test_the_file_works_on_another_machine(sshd: Sshd) -> None:
    write_spec("stays", sshd, persistent=True)
    with started("stays") as (manager, _):
        file = saved_file(manager)
        manager.shutdown_kernel()
    # There the ssh configuration is elsewhere, and the kernelspec's is the one to use.
    content = json.loads(Path(file).read_text())
    content["host"]["ssh_config"] = "/home/of/another/config"
    content["host"]["ssh"] = "/usr/another/ssh"
    Path(file).write_text(json.dumps(content))
    with attached("stays", file) as manager:
        with client_of(manager) as client:
            run_code(client, "pass")
        stop(manager)


# -- a kernel that is gone says so -------------------------------------------------------------


def gone(name: str, file: str) -> str:
    with pytest.raises(errors.KernelGone) as caught, attached(name, file):
        pass
    return str(caught.value)


def left(name: str, code: str = "pass") -> str:
    """Leave a kernel that then runs `code`; the persistence file."""
    with started(name) as (manager, client):
        client.execute(code)
        file = saved_file(manager)
        manager.shutdown_kernel()
    return file


def agent_of(home: Path, file: str) -> dict[str, object]:
    id = json.loads(Path(file).read_text())["agent"]["id"]
    record: dict[str, object] = json.loads((home / STATE / id / "record.json").read_text())
    return record


def wait_gone(home: Path, file: str) -> None:
    id = json.loads(Path(file).read_text())["agent"]["id"]
    deadline = time.monotonic() + PATIENCE
    while (home / STATE / id).exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # the agent is another's process


def test_gone_by_its_own_exit(sshd: Sshd, remote_home: Path) -> None:
    write_spec("stays", sshd, persistent=True)
    file = left("stays", "import os, time; time.sleep(0.5); os._exit(7)")
    wait_gone(remote_home, file)
    said = gone("stays", file)
    assert "exit status 7" in said
    assert time.strftime("%Y-%m-%d") in said


def test_gone_because_another_stopped_it(sshd: Sshd) -> None:
    write_spec("stays", sshd, persistent=True)
    file = left("stays")
    copy = file + ".copy.json"
    Path(copy).write_text(Path(file).read_text())
    with attached("stays", file) as manager:
        stop(manager)
    assert "ended it" in gone("stays", copy)


def test_gone_with_its_agent(sshd: Sshd, remote_home: Path) -> None:
    write_spec("stays", sshd, persistent=True)
    file = left("stays")
    record = agent_of(remote_home, file)
    os.kill(int(str(record["agent_pid"])), signal.SIGKILL)
    assert "agent" in gone("stays", file)
    assert not (remote_home / STATE / str(record["id"])).exists()
    assert not os.path.exists(str(record["sockets"]))


def test_gone_by_a_reboot(sshd: Sshd, remote_home: Path) -> None:
    write_spec("stays", sshd, persistent=True)
    file = left("stays")
    content = json.loads(Path(file).read_text())
    copy = Path(file + ".copy.json")
    copy.write_text(
        json.dumps(
            {
                **content,
                "agent": {
                    **content["agent"],
                    "boot_id": "earlier",
                    "id": "0" * 32,
                    "listening": dict.fromkeys(
                        content["agent"]["listening"], "/tmp/sshpyk-nowhere/x.sock"
                    ),
                },
            }
        )
    )
    assert "restarted" in gone("stays", str(copy))
    with attached("stays", file) as manager:
        stop(manager)


def test_a_file_of_another_kind_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "sshpyk-kernel-1.json"
    path.write_text(json.dumps({"kernel_id": "1", "rem_pid_k": 4}))
    with pytest.raises(errors.SettingsError, match=r"1\.25"):
        persistence.read(str(path))
    with pytest.raises(errors.SettingsError, match="no persistence file"):
        persistence.find("nothing-of-that-name")
