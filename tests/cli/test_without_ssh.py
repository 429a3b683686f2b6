"""Logins by paramiko: keys of hosts, keys of ours, passwords, and options that it can't honour."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.link.thread import io_thread
from sshpyk.ssh.command import Destination
from sshpyk.ssh.hops import unhonoured, way
from sshpyk.ssh.knownhosts import find
from sshpyk.transport.command import transport
from sshpyk.transport.paramiko_client import Paramiko
from tests.cli.conftest import Call
from tests.cli.test_connect import SSHPYK, PasswordHost, keyring, needs_root
from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal

__all__ = ["keyring"]


async def _try(destination: Destination) -> str:
    place = transport(destination)
    assert isinstance(place, Paramiko)
    await place.ensure(timeout=PATIENCE)
    try:
        async with place.run("echo here; exit 3") as program:
            said = b""
            while data := await program.read():
                said += data
            return f"{said.decode()}{await program.wait()}"
    finally:
        await place.close()


def tried(destination: Destination) -> str:
    """What a program says that paramiko runs there, and its exit status."""
    return io_thread().submit(_try(destination)).result(PATIENCE)


def configured(server: Sshd, file: Path, *lines: str, host: str = "sshd") -> Destination:
    """The server by a configuration with other lines before its own."""
    file.write_text(server.config_text(host, lines))
    return Destination(host, "paramiko", str(file))


@pytest.mark.sshd
def test_hosts_keys_are_checked(sshd: Sshd, tmp_path: Path) -> None:
    there = configured(sshd, tmp_path / "config")
    assert tried(there) == "here\n3"

    known = tmp_path / "known"
    known.write_text("")
    lines = (f"UserKnownHostsFile {known}", "StrictHostKeyChecking no")
    stranger = configured(sshd, tmp_path / "unknown", *lines)
    with pytest.raises(errors.HostKeyUnknown, match="sshpyk connect --ssh paramiko") as unknown:
        tried(stranger)
    assert "SHA256:" in unknown.value.details
    assert known.read_text() == "", "nothing is trusted by itself"

    other = sshd.identity.with_suffix(".pub").read_text()
    known.write_text(f"# of old\n[127.0.0.1]:{sshd.port} {other}")
    with pytest.raises(errors.HostKeyChanged, match=f"{known}:2"):
        tried(stranger)
    key = sshd.known_hosts.read_text().split(maxsplit=1)[1]
    known.write_text(f"[127.0.0.1]:* {key}@revoked * {key}")
    with pytest.raises(errors.HostKeyChanged, match="revoked"):
        tried(stranger)
    known.write_text(f"[127.0.0.1]:{sshd.port} {key}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert tried(stranger) == "here\n3", "names may be hashed"
    assert find("b.example", f"*.example,!b.example {key}", "file") == []


@pytest.mark.sshd
def test_a_wrong_key_is_refused_with_the_next_step(sshd: Sshd, tmp_path: Path) -> None:
    there = configured(sshd, tmp_path / "config", f"IdentityFile {sshd.directory}/host_key")
    file = tmp_path / "config"
    file.write_text(file.read_text().replace(f'IdentityFile "{sshd.identity}"', ""))
    with pytest.raises(errors.AuthenticationFailed) as refused:
        tried(there)
    assert f"sshpyk connect --keyring --ssh paramiko --ssh-config {file} sshd" in str(refused.value)
    assert f"the key {sshd.directory}/host_key" in refused.value.details


@pytest.mark.sshd
def test_jump_hosts_lead_on(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "config"
    there = configured(sshd, file, "ProxyJump near", host="far")
    (tmp_path / "more").write_text(sshd.config_text("near"))
    file.write_text(f"Include {tmp_path}/m*re\n{file.read_text()}")
    assert [hop.name for hop in way(there)] == ["near", "far"]
    before = sshd.log.read_text().count("Accepted publickey")
    assert tried(there) == "here\n3"
    assert sshd.log.read_text().count("Accepted publickey") == before + 2
    assert [hop.name for hop in way(replace(there, host="near", node="far"))][-2:] == [
        "near",
        "far",
    ]
    file.write_text(sshd.config_text("far", ["ProxyCommand nc %h %p"]))
    with pytest.raises(errors.SettingsError, match="ProxyCommand"):
        tried(there)


@pytest.mark.sshd
def test_options_that_are_not_honoured_are_named(
    sshd: Sshd, tmp_path: Path, sshpyk: Call, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("Ciphers aes128-ctr", "StrictHostKeyChecking no", "LogLevel QUIET")
    there = configured(sshd, tmp_path / "config", *options, "Include more")
    named = ["ciphers aes128-ctr", "include more", "stricthostkeychecking no"]
    assert unhonoured(way(there)) == named
    for _ in range(2):
        tried(there)
    said = [r.getMessage() for r in caplog.records if r.name == "sshpyk"]
    assert len(said) == 1
    assert all(option in said[0] for option in named)
    words = ("--ssh", "paramiko", "--ssh-config", str(tmp_path / "config"))
    doctor = sshpyk("doctor", "sshd", *words, "--remote-python", sys.executable)
    assert all(option in doctor.out for option in named)
    assert "one channel for all" in doctor.out
    assert doctor.status == 0, doctor.out
    assert "nothing to close" in sshpyk("disconnect", "sshd", *words).out


@pytest.fixture
def host() -> Iterator[PasswordHost]:
    needs_root()
    host = PasswordHost("AuthenticationMethods password", "PasswordAuthentication yes")
    yield host
    host.close()


@pytest.mark.sshd
def test_a_person_leaves_a_password(host: PasswordHost, keyring: None, tmp_path: Path) -> None:
    known, file = tmp_path / "new" / "known", tmp_path / "config"
    text = Path(host.config).read_text()
    file.write_text(text.replace("HostName", f"UserKnownHostsFile {known}\n  HostName"))
    there = Destination("login", "paramiko", str(file))
    words = [*SSHPYK, "connect", "--keyring", "--ssh", "paramiko"]
    words += ["--ssh-config", str(file), "login"]
    with Terminal(words) as terminal:
        terminal.expect("SHA256:")
        terminal.expect("(yes/no)?")
        terminal.type("yes")
        terminal.expect("password:")
        terminal.type("wrong")
        terminal.expect("login let us in by none of the keys and passwords")
        assert terminal.end() == 1
    with pytest.raises(errors.LoginRefused):
        tried(there)
    with Terminal(words) as terminal:
        terminal.expect("password:")
        terminal.type(host.password)
        terminal.expect("login: the login works\n")
        terminal.expect(f"keeps the secret of {host.user}@127.0.0.1")
        assert terminal.end() == 0
        assert host.password not in terminal.text
    assert tried(there) == "here\n3"
    assert len(known.read_text().splitlines()) == 1
