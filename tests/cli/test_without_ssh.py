"""Logins by paramiko: keys of hosts, keys of ours, passwords, and options that it can't honour."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keyring
import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL

from sshpyk import errors
from sshpyk.link.thread import io_thread
from sshpyk.ssh.command import Destination
from sshpyk.ssh.hops import unhonoured, way
from sshpyk.ssh.knownhosts import find
from sshpyk.ssh.login import Login, Prompts, close
from sshpyk.transport import paramiko_client
from sshpyk.transport.command import transport
from sshpyk.transport.paramiko_client import Paramiko
from tests.cli import fake_keyring
from tests.cli.conftest import Call
from tests.cli.test_connect import SSHPYK
from tests.lab.accounts import PasswordHost, needs_root
from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A keyring of this test's own, here and in programs that it runs."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.cli.fake_keyring.Fake")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("FAKE_KEYRING", str(tmp_path / "keyring"))
    before = keyring.get_keyring()
    keyring.set_keyring(fake_keyring.Fake())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


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
def test_a_keys_passphrase_is_in_the_keyring(sshd: Sshd, tmp_path: Path, kept: None) -> None:
    key = tmp_path / "key"
    key.write_bytes(sshd.identity.read_bytes())
    key.chmod(0o600)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)]
    subprocess.run(change, check=True, capture_output=True)
    file = tmp_path / "config"
    file.write_text(sshd.config_text("sshd").replace(str(sshd.identity), str(key)))
    there = Destination("sshd", "paramiko", str(file))
    with pytest.raises(errors.LoginRefused, match="it has a passphrase"):
        tried(there)
    keyring.set_password("sshpyk", str(key), "open sesame")
    assert tried(there) == "here\n3"


@pytest.mark.sshd
def test_a_host_without_room_says_so(tmp_path: Path) -> None:
    async def fill(place: Paramiko) -> None:
        await place.ensure(timeout=PATIENCE)
        try:
            async with place.run("echo first; read x; exit 5") as first:
                assert await first.read() == b"first\n"
                async with place.run("echo second", is_lasting=True) as second:
                    assert await second.read() == b""
                    with pytest.raises(errors.NoRoom):
                        await second.wait()
                assert await place.answers()
                first.write(b"go on\n")
                assert await first.wait() == 5
        finally:
            await place.close()
        async with place.run("true") as none:
            raise AssertionError(none)

    with Sshd(options=["MaxSessions 1"]) as server:
        there = configured(server, tmp_path / "config")

        async def made() -> None:
            place = transport(there)
            assert isinstance(place, Paramiko)
            await fill(place)

        with pytest.raises(errors.ConnectionLost):
            io_thread().submit(made()).result(PATIENCE)


@pytest.mark.sshd
def test_a_connection_ends_after_its_last_use(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paramiko_client, "IDLE", 0.05)
    there = configured(sshd, tmp_path / "config")

    async def use() -> None:
        place = transport(there)
        assert isinstance(place, Paramiko)
        first = await place.ensure(timeout=PATIENCE)
        async with place.run("read x") as program:
            await asyncio.sleep(0.2)
            assert place.identity() == first, "it is in use"
            program.write(b"\n")
            await program.wait()
        connection = place.connection
        assert connection is not None
        await asyncio.to_thread(connection.transport.join, PATIENCE)
        assert not connection.transport.is_alive()
        assert place.identity() is None
        assert await place.ensure(timeout=PATIENCE) != first
        await place.close()

    io_thread().submit(use()).result(PATIENCE)


class TwoFactors(paramiko.ServerInterface):
    """Wants a password, and then a code."""

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        if password != "sesame":
            return AUTH_FAILED
        self.get_allowed_auths = lambda username: "keyboard-interactive"  # type: ignore[method-assign]
        return AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_interactive(
        self, username: str, submethods: str
    ) -> int | paramiko.server.InteractiveQuery:
        return paramiko.server.InteractiveQuery("", "", ("Verification code: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        return AUTH_SUCCESSFUL if responses == ["123456"] else AUTH_FAILED


def test_a_host_may_want_two_factors(tmp_path: Path, kept: None) -> None:
    key = paramiko.ECDSAKey.generate()
    known, file = tmp_path / "known", tmp_path / "config"
    asked: list[str] = []

    def code(question: str) -> str:
        asked.append(question)
        return "123456"

    def login(prompts: Prompts) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
            file.write_text(
                f"Host two\n HostName 127.0.0.1\n Port {port}\n User me\n"
                f" UserKnownHostsFile {known}\n IdentityFile none\n IdentitiesOnly yes\n"
            )
            there = Destination("two", "paramiko", str(file))
            served: list[paramiko.Transport] = []

            def serve() -> None:
                served.append(paramiko.Transport(listener.accept()[0]))
                served[0].add_server_key(key)
                # Not waited for: who has nothing to try leaves as soon as there are keys.
                served[0].start_server(threading.Event(), TwoFactors())

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                close(Login(there, way(there), prompts, timeout=PATIENCE).run())
            finally:
                thread.join()
                close(served)

    keyring.set_password("sshpyk", "me@127.0.0.1", "sesame")
    login(Prompts(ask=code, keep=True))
    assert len(asked) == 1
    assert "Verification code" in asked[0]
    assert "123456" not in str(fake_keyring.read()), "what is good once is not kept"
    with pytest.raises(errors.LoginRefused) as refused:
        login(prompts := Prompts())
    assert "sesame" not in str(refused.value)
    with pytest.raises(errors.LoginRefused, match="nothing to try"):
        login(Prompts(wrong=frozenset(prompts.given)))


@pytest.mark.parametrize(
    ("one", "others"),
    [
        ("sshpyk.transport.paramiko_client", ["sshpyk.transport.openssh", "sshpyk.ssh.master"]),
        ("sshpyk.jupyter.provisioner, sshpyk.cli.connect, sshpyk.cli.walk", ["paramiko"]),
    ],
)
def test_neither_imports_the_other(one: str, others: list[str]) -> None:
    code = f"import sys, {one}; print([name for name in {others} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.sshd
def test_jump_hosts_lead_on(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "config"
    there = configured(sshd, file, "ProxyJump near", host="far")
    (tmp_path / "more").write_text(sshd.config_text("near"))
    file.write_text(f"Include {tmp_path}/m*re\n{file.read_text()}")
    assert [hop.name for hop in way(there)] == ["near", "far"]
    before = sshd.said().count("Accepted publickey")
    assert tried(there) == "here\n3"
    assert sshd.said().count("Accepted publickey") == before + 2
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
def test_a_person_leaves_a_password(host: PasswordHost, kept: None, tmp_path: Path) -> None:
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
