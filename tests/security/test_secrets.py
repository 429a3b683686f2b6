"""Keys, tokens and passwords: in no command line, environment, log, exception or repr."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.jupyter import persistence
from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.link.address import AgentAddress
from sshpyk.transport.openssh import OpenSSH
from sshpyk.wire.frames import HELLO, Frame
from tests.lab.kernels import PATIENCE, STATE, client_of, link_of, run_code, write_spec
from tests.lab.sshd import Sshd

SOURCES = Path(errors.__file__).parent


class Kernel:
    """A persistent kernel of ours, encrypted, that logged everything that it could."""

    def __init__(self, manager: KernelManager, home: Path, log: str) -> None:
        assert isinstance(manager.provisioner, SSHKernelProvisioner)
        self.provisioner = manager.provisioner
        self.link = link = link_of(manager)
        self.manager = manager
        self.home = home
        self.log = log
        self.secrets = [manager.session.key.decode(), link.agent.token]
        if manager.curve_secretkey is not None:
            self.secrets.append(manager.curve_secretkey.decode())

    def assert_none_in(self, text: str) -> None:
        for number, secret in enumerate(self.secrets):
            assert secret not in text, f"secret {number}"


@pytest.fixture(scope="module")
def kernel(open_directory: Path) -> Iterator[Kernel]:
    home = open_directory / "home"
    home.mkdir()
    logged: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(self.format(record))
            logged.append(repr(vars(record)))

    keep = Keep(logging.NOTSET)
    root = logging.getLogger()
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch, Sshd(home=home) as server:
        for name in ("RUNTIME", "DATA", "CONFIG"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(open_directory / name.lower()))
        patch.setenv("XDG_RUNTIME_DIR", str(open_directory))
        patch.setenv("PYTHONASYNCIODEBUG", "1")
        write_spec("secret", server, persistent=True, ssh_verbose="vvv")
        manager = KernelManager(kernel_name="secret")
        if hasattr(manager, "transport_encryption"):
            manager.transport_encryption = "auto"
        manager.log.setLevel(logging.DEBUG)
        manager.log.propagate = True
        manager.start_kernel()
        try:
            with client_of(manager) as client:
                run_code(client, "print(1)")
                manager.interrupt_kernel()
            link = link_of(manager)
            link.streams._loop.call_soon_threadsafe(link.streams.cut)
            link.streams._loop.call_soon_threadsafe(link.on_broken)
            with client_of(manager) as client:
                run_code(client, "print('again')")
            assert len(logged) > 10
            yield Kernel(manager, home, "\n".join(logged))
        finally:
            manager.provisioner.persistent = False  # type: ignore[union-attr]  # ours
            manager.shutdown_kernel()
            manager.context.destroy(linger=100)
            root.removeHandler(keep)
            root.setLevel(level)


@pytest.mark.sshd
def test_not_in_the_log_here_at_any_level(kernel: Kernel) -> None:
    assert "< bound" in kernel.log, "the log is not one of everything"
    kernel.assert_none_in(kernel.log)


@pytest.mark.sshd
def test_not_in_the_logs_on_the_host(kernel: Kernel) -> None:
    files = list((kernel.home / STATE).glob("*/*.log*"))
    assert len(files) >= 2
    for path in files:
        kernel.assert_none_in(path.read_text("utf-8", "replace"))


@pytest.mark.sshd
def test_not_in_any_command_line_or_environment(kernel: Kernel) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            try:
                text = Path("/proc", pid, name).read_text("utf-8", "replace")
            except OSError:
                continue
            kernel.assert_none_in(text)


@pytest.mark.sshd
def test_not_in_what_objects_say_of_themselves(kernel: Kernel) -> None:
    link = kernel.link
    saved = persistence.read(kernel.provisioner.persistence_path)
    for thing in (kernel.provisioner, link, link.agent, link.streams, link.transport, saved):
        kernel.assert_none_in(repr(thing) + str(thing))
    kernel.assert_none_in(repr(saved.agent))
    kernel.assert_none_in(repr(Frame(HELLO, payload=link.agent.token.encode())))


@pytest.mark.sshd
def test_the_files_that_hold_them_are_the_owners_alone(kernel: Kernel) -> None:
    holders = []
    for place, _, names in os.walk(kernel.home.parent):
        for name in names:
            path = Path(place, name)
            if path.is_file() and any(s.encode() in path.read_bytes() for s in kernel.secrets):
                assert path.stat().st_mode & 0o077 == 0, path
                holders.append(path.name)
    assert {"record.json", "connection.json"} <= set(holders)


COMMANDS = (
    ["list"],
    ["list", "--no-check"],
    ["ps", "HOST"],
    ["logs", "ID"],
    ["doctor", "HOST"],
    ["edit", "secret", "--display-name", "other"],
    ["connect", "HOST"],
    ["interrupt", "ID"],
    ["nosuch"],
    ["stop", "nosuch"],
    ["attach", "nosuch"],
    ["add", "nosuch.invalid"],
    ["completion", "bash"],
    ["disconnect", "HOST"],
)


@pytest.mark.sshd
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words))
def test_not_in_what_a_command_says_at_debug(kernel: Kernel, words: list[str]) -> None:
    assert isinstance(kernel.link.transport, OpenSSH)
    destination = kernel.link.transport.destination
    replaced = {"HOST": destination.host, "ID": kernel.link.agent.id}
    argv = [replaced.get(word, word) for word in words]
    environment = {**os.environ, "SSHPYK_SSH_CONFIG": str(destination.ssh_config)}
    result = subprocess.run(
        [sys.executable, "-m", "sshpyk.cli", "-vvv", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=PATIENCE,
    )
    assert result.stdout or result.stderr or result.returncode == 0
    assert "Traceback" not in result.stderr
    kernel.assert_none_in(result.stdout + result.stderr)


def test_not_in_an_agents_address() -> None:
    agent = AgentAddress("id", "the token", "python3")
    assert "the token" not in repr(agent)
    assert "the token" not in f"{agent} {[agent]}"


def test_not_in_the_errors_of_a_file(tmp_path: Path) -> None:
    content = {"version": 2, "agent": {"token": "the token"}, "keys": {"key": "the key"}}
    path = tmp_path / "file"
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    with pytest.raises(errors.SettingsError) as caught:
        persistence.read(str(path))
    for text in (str(caught.value), repr(caught.value)):
        assert "the token" not in text
        assert "the key" not in text


# -- host keys: nothing of ours weakens ssh --------------------------------------------------------


def test_no_source_of_ours_weakens_the_check_of_host_keys() -> None:
    for path in SOURCES.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"StrictHostKeyChecking[= ]*(no|off|accept-new)", text), path
        assert not re.search(r"UserKnownHostsFile|GlobalKnownHostsFile", text) or (
            path.name == "sandbox.py"  # the throwaway server's own configuration names its own file
        ), path


@pytest.mark.sshd
def test_no_ssh_of_ours_weakens_the_check_of_host_keys(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ssh of a kernel's life, as it was really called; and known_hosts stays as it was."""
    log = tmp_path / "calls"
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {log}\nexec ssh "$@"\n')
    ssh.chmod(0o700)
    before = sshd.known_hosts.read_bytes()
    write_spec("recorded", sshd, ssh=str(ssh))
    manager = KernelManager(kernel_name="recorded")
    manager.start_kernel()
    key = manager.session.key.decode()
    manager.restart_kernel()
    manager.shutdown_kernel()
    manager.context.destroy(linger=100)
    calls = log.read_text()
    assert len(calls.splitlines()) >= 3
    assert "StrictHostKeyChecking" not in calls
    assert "KnownHosts" not in calls
    assert key not in calls
    assert sshd.known_hosts.read_bytes() == before
