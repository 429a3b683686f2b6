"""`sshpyk connect` and `disconnect`, with a person at a real terminal and a real sshd."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.ssh.askpass import entry_name, is_secret
from sshpyk.transport import openssh
from tests.cli import fake_keyring
from tests.cli.conftest import Call, names
from tests.lab.accounts import PasswordHost, locked_config, needs_root
from tests.lab.kernels import PATIENCE, left_behind, run_code, started, until, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal

SSHPYK = (sys.executable, "-m", "sshpyk.cli")


@pytest.fixture(scope="module")
def host() -> Iterator[PasswordHost]:
    needs_root()
    host = PasswordHost("AuthenticationMethods password", "PasswordAuthentication yes")
    yield host
    host.close()


@pytest.fixture(autouse=True)
def own_master(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """Masters of this test's own, which end when its sshd does."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    (short_tmp / "sshpyk").mkdir(0o700)
    openssh.forget_all()  # as in a new process


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.cli.fake_keyring.Fake")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("FAKE_KEYRING", str(tmp_path / "keyring"))


@pytest.mark.sshd
def test_a_password_is_asked_on_the_terminal(host: PasswordHost, sshpyk: Call) -> None:
    add = ("add", "login", "--ssh-config", host.config, "--all")
    refused = sshpyk(*add)
    assert refused.status == 1
    assert f"sshpyk connect --ssh-config {host.config} login" in refused.err
    assert names() == []

    with Terminal([*SSHPYK, "connect", "login", "--ssh-config", host.config]) as terminal:
        terminal.expect("password:")
        terminal.type("wrong")
        terminal.expect("try again")
        terminal.expect("password:")
        terminal.type(host.password)
        terminal.expect("login: connected\n")
        assert terminal.end() == 0
        assert host.password not in terminal.text

    assert sshpyk("connect", "login", "--ssh-config", host.config).out == (
        "login: connected already\n"
    )
    looked = sshpyk(*add, "--dry-run")
    assert "kernel_provisioner" in looked.out or "No kernel is ready" in looked.err
    assert sshpyk("disconnect", "login", "--ssh-config", host.config).out == "login: disconnected\n"
    assert "was not connected" in sshpyk("disconnect", "login", "--ssh-config", host.config).out
    assert sshpyk(*add).status == 1


@pytest.mark.sshd
def test_a_refused_password_is_an_error(host: PasswordHost, keyring: None) -> None:
    words = [*SSHPYK, "connect", "login", "--keyring", "--ssh-config", host.config]
    with Terminal(words) as terminal:
        terminal.expect("password:")
        terminal.type("wrong")
        terminal.expect("password:")
        terminal.type("wrong again")
        terminal.expect("password:")
        terminal.type("and again")
        terminal.expect("could not log in to login")
        assert terminal.end() == 1
    assert fake_keyring.read() == {}


@pytest.mark.sshd
def test_the_keyring_lets_in_without_a_person(
    host: PasswordHost, keyring: None, sshpyk: Call
) -> None:
    words = [*SSHPYK, "connect", "login", "--keyring", "--ssh-config", host.config]
    with Terminal(words) as terminal:
        terminal.expect("password:")
        terminal.type(host.password)
        terminal.expect(f"the keyring keeps the secret of {host.user}@127.0.0.1")
        assert terminal.end() == 0
        assert host.password not in terminal.text
    assert fake_keyring.read() == {f"sshpyk {host.user}@127.0.0.1": host.password}

    assert sshpyk("disconnect", "login", "--ssh-config", host.config).status == 0
    found = sshpyk("-vvv", "add", "login", "--ssh-config", host.config, "--all", "--dry-run")
    assert "did not accept" not in found.err
    assert host.password not in found.out + found.err
    assert sshpyk("disconnect", "login", "--ssh-config", host.config).out == "login: disconnected\n"


@pytest.mark.sshd
def test_a_kept_password_that_is_wrong_is_tried_once(
    host: PasswordHost, keyring: None, sshpyk: Call
) -> None:
    fake_keyring.write({f"sshpyk {host.user}@127.0.0.1": "old"})
    before = host.sshd.said().count("Failed password")
    assert sshpyk("add", "login", "--ssh-config", host.config, "--all").status == 1
    assert host.sshd.said().count("Failed password") - before == 1


@pytest.mark.sshd
def test_ctrl_c_leaves_the_terminal_as_it_was(host: PasswordHost) -> None:
    words = [*SSHPYK, "connect", "login", "--ssh-config", host.config]
    script = '"$@"; echo status $?; stty -a'
    with Terminal(["bash", "-c", f"trap : INT; {script}", "bash", *words]) as terminal:
        terminal.expect("password:")
        terminal.press("\x03")
        terminal.expect("interrupted")
        terminal.expect("status 130")
        terminal.expect(" echo ")
        assert terminal.end() == 0


@pytest.mark.sshd
def test_the_masters_of_ones_own_configuration_are_respected(
    host: PasswordHost, tmp_path: Path, short_tmp: Path, sshpyk: Call
) -> None:
    # As sshpyk 1.25 wants it.
    lines = ("BatchMode yes", "ControlMaster auto", f"ControlPath {short_tmp}/own-%C")
    config = tmp_path / "config"
    own = Path(host.config).read_text()
    config.write_text(own.replace("\n", "\n  " + "\n  ".join(lines) + "\n", 1))
    words = ["login", "--ssh-config", str(config)]
    with Terminal([*SSHPYK, "connect", *words]) as terminal:
        terminal.expect("password:")
        terminal.type(host.password)
        terminal.expect("login: connected\n")
        assert terminal.end() == 0
    assert len(list(short_tmp.glob("own-*"))) == 1
    assert sshpyk("connect", *words).out == "login: connected already\n"
    assert sshpyk("disconnect", *words).out == "login: disconnected\n"
    until(lambda: list(short_tmp.glob("own-*")) == [])  # the master answers, and then it goes


@pytest.mark.sshd
def test_keyboard_interactive() -> None:
    needs_root()
    host = PasswordHost("AuthenticationMethods keyboard-interactive", "UsePAM yes")
    try:
        words = [*SSHPYK, "connect", "login", "--ssh-config", host.config]
        with Terminal(words) as terminal:
            terminal.expect("Password:")
            terminal.type(host.password)
            terminal.expect("login: connected\n")
            assert terminal.end() == 0
    finally:
        host.close()


@pytest.mark.sshd
def test_a_kernel_that_waits_goes_on_by_itself(
    sshd: Sshd, remote_home: Path, tmp_path: Path, sshpyk: Call
) -> None:
    config, _ = locked_config(sshd, tmp_path)
    words = ("locked", "--ssh-config", str(config))

    def log_in() -> None:
        with Terminal([*SSHPYK, "connect", *words]) as terminal:
            terminal.expect("passphrase for key")
            terminal.type("open sesame")
            terminal.expect("connected")
            assert terminal.end() == 0

    log_in()
    write_spec("mine", sshd, ssh_host_alias="locked", ssh_config=str(config))
    with started("mine") as (_, client):
        assert sshpyk("disconnect", *words).status == 0
        message = client.execute("print(6 * 7)")  # and nobody is there to bring it over
        log_in()
        while True:
            reply = client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"]["msg_id"] == message:
                break
        assert reply["content"]["status"] == "ok"
        assert run_code(client, "print(6 * 8)") == "48\n"
    assert left_behind(remote_home) == []
    assert sshpyk("disconnect", *words).status == 0


@pytest.mark.sshd
def test_a_passphrase(sshd: Sshd, keyring: None, tmp_path: Path, sshpyk: Call) -> None:
    config, key = locked_config(sshd, tmp_path)
    assert sshpyk("add", "locked", "--ssh-config", str(config), "--all").status == 1
    words = [*SSHPYK, "connect", "locked", "--keyring", "--ssh-config", str(config)]
    with Terminal(words) as terminal:
        terminal.expect("passphrase for key")
        terminal.type("open sesame")
        terminal.expect("connected")
        assert terminal.end() == 0
    assert fake_keyring.read() == {f"sshpyk {key}": "open sesame"}
    assert sshpyk("disconnect", "locked", "--ssh-config", str(config)).status == 0
    found = sshpyk("add", "locked", "--ssh-config", str(config), "--all", "--dry-run")
    assert found.status == 0
    assert sshpyk("disconnect", "locked", "--ssh-config", str(config)).status == 0


@pytest.mark.sshd
def test_an_unknown_host_key_is_for_a_person_to_confirm(
    sshd: Sshd, tmp_path: Path, sshpyk: Call
) -> None:
    known = tmp_path / "known_hosts"
    config = tmp_path / "config"
    lines = (f'UserKnownHostsFile "{known}"', "StrictHostKeyChecking ask")
    config.write_text(sshd.config_text("new", lines))
    refused = sshpyk("add", "new", "--ssh-config", str(config), "--all")
    assert refused.status == 1
    assert "its key was never confirmed" in refused.err
    assert "Connect once in a terminal" in refused.err
    assert not known.exists()
    with Terminal([*SSHPYK, "connect", "new", "--ssh-config", str(config)]) as terminal:
        terminal.expect("fingerprint is SHA256:")
        terminal.expect("yes/no")
        terminal.type("yes")
        terminal.expect("connected")
        assert terminal.end() == 0
    assert known.exists()
    assert sshpyk("disconnect", "new", "--ssh-config", str(config)).status == 0


@pytest.mark.sshd
def test_without_a_terminal_it_says_what_ssh_said(host: PasswordHost) -> None:
    done = subprocess.run(
        [*SSHPYK, "connect", "login", "--ssh-config", host.config],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


QUESTIONS = [
    ("alice@example.org's password: ", True, "alice@example.org"),
    ("(alice@example.org) Password: ", True, "alice@example.org"),
    ("Enter passphrase for key '/home/a/.ssh/id_ed25519': ", True, "/home/a/.ssh/id_ed25519"),
    ("Password: ", True, "given"),
    ("(alice@example.org) Verification code: ", False, ""),
    ("One-time password (OATH) for `alice': ", False, ""),
    ("Passcode or option (1-3): ", False, ""),
    ("Enter new password: ", False, ""),
    ("Are you sure you want to continue connecting (yes/no/[fingerprint])? ", False, ""),
]


@pytest.mark.parametrize(("question", "kept", "name"), QUESTIONS)
def test_only_what_stays_the_same_is_kept(question: str, kept: bool, name: str) -> None:
    assert is_secret(question) is kept
    if kept:
        assert entry_name(question, "given") == name
