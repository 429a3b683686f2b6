"""`sshpyk doctor`: each step of the way, right and wrong."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from sshpyk.demo.sandbox import Sandbox
from sshpyk.transport import openssh
from tests.cli.conftest import Call
from tests.lab.kernels import left_behind, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal


@pytest.fixture(autouse=True)
def own_master(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """Masters of this test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    (short_tmp / "sshpyk").mkdir(0o700)
    openssh.forget_all()


def steps(walk: Any) -> dict[str, dict[str, Any]]:
    """The steps of a walk by name; of several the last."""
    return {step["what"]: step for step in walk["steps"]}


@pytest.mark.sshd
def test_all_is_well(sshd: Sshd, remote_home: Path, sshpyk: Call) -> None:
    write_spec("mine", sshd, persistent=True)
    result = sshpyk("doctor", "mine", "--json")
    assert result.status == 0, result.out
    (walk,) = result.json
    assert (walk["kernel"], walk["host"], walk["ok"]) == ("mine", "sshd", True)
    found = steps(walk)
    for what in (
        *("SSH", "SSH Host Alias", "Reachable", "Host Key", "Authentication", "Multiplexing"),
        *("Remote Shell", "Remote Python", "Directory", "Kernelspec", "ipykernel"),
        "Trial Launch",
    ):
        assert found[what]["mark"] == "v", found[what]
    assert found["Trial Launch"]["seconds"] > 0.1
    for what in ("Speed", "Kernel Speed"):
        assert re.search(r"[\d.]+ ms .*, \d+ MB/s", found[what]["text"])
    assert left_behind(remote_home) == []


@pytest.mark.sshd
def test_a_host_without_a_kernel_of_ours(sshd: Sshd, sshpyk: Call) -> None:
    words = ("--ssh-config", str(sshd.ssh_config), "--remote-python", sys.executable)
    result = sshpyk("doctor", "sshd", *words)
    assert result.status == 0, result.out
    assert "(v) Kernels: " in result.out
    assert "(v) Trial Launch: a kernel started and answered" in result.out
    quick = sshpyk("doctor", "sshd", *words, "--no-launch")
    assert "(?) Trial Launch: not asked for" in quick.out


def test_the_sandbox(sandbox: Sandbox, sshpyk: Call) -> None:
    write_spec("sandboxed", sandbox)
    result = sshpyk("doctor", "sandboxed")
    assert result.status == 0, result.out
    assert "(!) Forwarding: only loopback TCP, which does as well" in result.out
    assert "(v) Trial Launch" in result.out


#: Settings of a kernel that doesn't work, the step that must say so, and what mends it.
SETTINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"ssh": "/no/ssh"}, "SSH", ""),
    ({"ssh_config": "/no/config"}, "SSH Config File", ""),
    ({"ssh_host_alias": "no-such-host.invalid"}, "Reachable", "Check the name"),
    ({"ssh_host_alias": "refused"}, "Reachable", "ssh server runs there"),
    ({"ssh_host_alias": "no_ssh"}, "Reachable", "Check the port"),
    ({"ssh_host_alias": "unknown"}, "Host Key", "compare the fingerprint"),
    ({"ssh_host_alias": "changed"}, "Host Key", "remove the old one"),
    ({"ssh_host_alias": "keyless"}, "Authentication", "sshpyk connect"),
    ({"ssh_host_alias": "old_home"}, "Authentication", "sshpyk connect"),
    ({"remote_python": "/no/python"}, "Remote Python", "sshpyk edit broken --remote-python /"),
    ({"remote_kernel_name": "nothing"}, "Kernelspec", "remote_kernel_name"),
    ({"setup": "nonsense_command"}, "Setup", "sshpyk edit broken --setup"),
    ({"setup": "module load cuda"}, "Setup", "sshpyk edit broken --login-shell"),
    ({"remote_cwd": "/no/such/place"}, "Trial Launch", "--cwd"),
    ({"remote_kernel_name": "dying"}, "Trial Launch", "I die young"),
    ({"remote_kernel_name": "gone"}, "Program", "Install"),
]


@pytest.mark.sshd
@pytest.mark.parametrize(("settings", "what", "fix"), SETTINGS, ids=str)
def test_the_step_that_fails_says_what_mends_it(
    settings: dict[str, Any],
    what: str,
    fix: str,
    sshd: Sshd,
    remote_home: Path,
    tmp_path: Path,
    sshpyk: Call,
) -> None:
    from tests.cli.hosts import MYLANG, spec

    specs = remote_home / ".local/share/jupyter/kernels"
    dying = ["/bin/sh", "-c", "echo I die young >&2; exit 3"]
    other_key = tmp_path / "other_key"
    other_key.write_text(f"[127.0.0.1]:* {(sshd.identity.with_suffix('.pub')).read_text()}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        port = silent.getsockname()[1]
        config = tmp_path / "config"
        config.write_text(
            sshd.config_text("sshd")
            + sshd.config_text("refused", ["Port 1"])
            + sshd.config_text("no_ssh", port=port)
            + sshd.config_text("unknown", ["UserKnownHostsFile none"])
            + sshd.config_text("changed", [f'UserKnownHostsFile "{other_key}"'])
            + sshd.config_text("keyless", ["PreferredAuthentications none"])
            + sshd.config_text("old_home", ["User nobody-of-that-name"])
        )
        write_spec("broken", sshd, **{"ssh_config": str(config), **settings})
        if settings.get("ssh_host_alias") == "no_ssh":
            # It hangs up at once, as what is no ssh server does when it hears of ssh.
            import threading

            threading.Thread(target=lambda: silent.accept()[0].close()).start()
        try:
            spec(specs / "dying", {**MYLANG, "argv": dying})
            spec(specs / "gone", {**MYLANG, "argv": ["/no/such/program"]})
            result = sshpyk("doctor", "broken", "--json")
        finally:
            shutil.rmtree(specs)
    assert result.status == 1
    assert "Traceback" not in result.err
    found = [step for step in result.json[0]["steps"] if step["mark"] == "x"]
    assert [step["what"] for step in found] == [what], found
    assert fix in found[0]["fix"]
    assert steps(result.json[0])["Trial Launch"]["mark"] in "x?"
    assert left_behind(remote_home) == []


#: Options of the server, the step, its mark, and what it says.
SERVERS = [
    ("AllowStreamLocalForwarding no", "Forwarding", "!", "only loopback TCP"),
    # For OpenSSH that forbids unix sockets, too, whatever AllowStreamLocalForwarding says.
    ("AllowTcpForwarding no", "Forwarding", "!", "share one ssh session"),
    ("DisableForwarding yes", "Forwarding", "!", "share one ssh session"),
    ("MaxSessions 0", "Multiplexing", "x", "refused"),
    ("ForceCommand echo This account is not available", "Remote Shell", "x", "not available"),
]


@pytest.mark.sshd
@pytest.mark.parametrize(("option", "what", "mark", "text"), SERVERS, ids=str)
def test_servers_that_forbid(option: str, what: str, mark: str, text: str, sshpyk: Call) -> None:
    with Sshd(options=[option]) as sshd:
        words = ("--ssh-config", str(sshd.ssh_config), "--remote-python", sys.executable)
        result = sshpyk("doctor", "sshd", *words, "--json", "--no-launch")
    assert result.status == int(mark == "x"), result.out
    step = steps(result.json[0])[what]
    assert step["mark"] == mark, step
    assert text in step["text"]


@pytest.mark.sshd
def test_noise_is_told(tmp_path: Path, sshpyk: Call) -> None:
    (tmp_path / ".bashrc").write_text("echo Welcome, this shell talks\n")
    with Sshd(home=tmp_path, shell="/bin/bash", environment={"BASH_ENV": "~/.bashrc"}) as sshd:
        words = ("--ssh-config", str(sshd.ssh_config), "--remote-python", sys.executable)
        result = sshpyk("doctor", "sshd", *words, "--json")
    assert result.status == 0, result.out
    step = steps(result.json[0])["Remote Shell"]
    assert step["mark"] == "i"
    assert "start-up files write" in step["text"]


@pytest.mark.sshd
def test_without_a_name_all_kernels_are_walked(sshd: Sshd, sshpyk: Call) -> None:
    nothing = sshpyk("doctor")
    assert nothing.status == 0
    assert "No kernels on hosts yet" in nothing.err
    write_spec("one", sshd)
    write_spec("two", sshd, ssh_config="/no/config")
    result = sshpyk("doctor", "--json", "--no-launch")
    assert result.status == 1
    assert [(walk["kernel"], walk["ok"]) for walk in result.json] == [("one", True), ("two", False)]


@pytest.mark.sshd
def test_on_a_terminal(sshd: Sshd) -> None:
    write_spec("mine", sshd)
    with Terminal([sys.executable, "-m", "sshpyk.cli", "doctor", "mine"]) as terminal:
        terminal.expect("Host Key")
        terminal.expect("a kernel started and answered")
        assert terminal.end() == 0
