"""Hosts that can't be reached, or don't let us in."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk import errors
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd

#: Seconds more than a launch was given: a busy machine is slow, ssh left alone would take minutes.
SLACK = 20


def configure(server: Server, *lines: str) -> None:
    """Put `lines` before all others of the server's entry in its ssh_config."""
    server.ssh_config.write_text(server.config_text(server.host, lines))


def test_unknown_host(server: Server) -> None:
    configure(server, "HostName no-such-host.invalid")
    said = server.starting_fails(errors.UnknownHost)
    assert said.startswith("The host sshd is unknown")
    assert f"ssh -F {server.ssh_config} sshd" in said
    assert "Could not resolve hostname no-such-host.invalid" in said


def test_refused_port(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configure(server, f"Port {port}")
    said = server.starting_fails(errors.ConnectionRefused)
    assert said.startswith("sshd refused the connection.")
    assert f"port {port}: Connection refused" in said


@pytest.fixture
def mute() -> Iterator[int]:
    """A port on which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_host_that_never_answers(server: Server, mute: int) -> None:
    configure(server, f"Port {mute}")
    begun = time.monotonic()
    said = server.starting_fails(errors.Unreachable, launch_timeout=3)
    assert time.monotonic() - begun < 3 + SLACK
    assert said.startswith("sshd does not answer.")


def test_a_jump_host_that_never_answers(server: Server, mute: int) -> None:
    jump = server.config_text("jump", [f"Port {mute}"])
    server.ssh_config.write_text(server.config_text("sshd", ["ProxyJump jump"]) + jump)
    begun = time.monotonic()
    said = server.starting_fails(errors.Unreachable, launch_timeout=3)
    assert time.monotonic() - begun < 3 + SLACK
    assert said.startswith("sshd does not answer.")


def test_a_refused_key(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    text = server.ssh_config.read_text()
    server.ssh_config.write_text(text.replace(str(server.identity), str(other)))
    said = server.starting_fails(errors.AuthenticationFailed)
    assert f"sshpyk connect --ssh-config {server.ssh_config} sshd" in said
    assert f"ssh-copy-id -F {server.ssh_config} sshd" in said
    assert "Permission denied (publickey)" in said


def test_a_changed_host_key(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    known = other.with_suffix(".pub").read_text()
    server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {known}")
    said = server.starting_fails(errors.HostKeyChanged)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in said
    assert "-o StrictHostKeyChecking=ask sshd" in said
    assert "remove with:" in said
    assert "ssh-keygen -f" in said


@pytest.mark.parametrize("strict", ["yes", "ask"])
def test_an_unknown_host_key(server: Server, strict: str) -> None:
    server.known_hosts.write_text("")
    configure(server, f"StrictHostKeyChecking {strict}")
    said = server.starting_fails(errors.HostKeyUnknown)
    assert "its key was never confirmed" in said
    assert "-o StrictHostKeyChecking=ask sshd" in said
    assert "Host key verification failed" in said
    assert server.known_hosts.read_text() == ""


def test_a_quiet_ssh_still_says_why(server: Server) -> None:
    configure(server, "HostName no-such-host.invalid", "LogLevel QUIET")
    server.starting_fails(errors.UnknownHost)


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "-x", "a b", "a\nb", ""])
def test_what_is_no_host_is_refused_before_any_process(
    server: Server, host: str, tmp_path: Path
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexit 1\n")
    ssh.chmod(0o700)
    server.starting_fails(errors.SettingsError, ssh_host_alias=host, ssh=str(ssh))
    assert not (tmp_path / "begun").exists()


def test_what_ssh_itself_takes_for_no_host(server: Server) -> None:
    said = server.starting_fails(errors.SettingsError, ssh_host_alias="x;touch$IFSy")
    assert "hostname contains invalid characters" in said


def test_a_configuration_that_ssh_refuses(server: Server) -> None:
    configure(server, "NoSuchOption yes")
    said = server.starting_fails(errors.SettingsError)
    assert "nosuchoption" in said.lower()
    assert str(server.ssh_config) in said


def test_no_configuration_file(server: Server, tmp_path: Path) -> None:
    said = server.starting_fails(errors.NoSshConfig, ssh_config=str(tmp_path / "none"))
    assert f"{tmp_path}/none is not there" in said


def test_no_ssh_program(server: Server) -> None:
    said = server.starting_fails(errors.NoSsh, ssh="/no/ssh")
    assert said.startswith("The ssh program /no/ssh is not there.")


def test_a_connection_closed_at_once(new_server: NewServer) -> None:
    server = new_server(link=True)
    assert server.link is not None
    server.link.refuse()
    said = server.starting_fails(errors.HostError)
    assert "Connection closed" in said or "Connection reset" in said
