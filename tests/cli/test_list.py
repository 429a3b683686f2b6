"""`sshpyk list`: what it shows of kernels, and of hosts in every state."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sshpyk.demo.sandbox import Sandbox
from sshpyk.transport import openssh
from tests.cli.conftest import Call, kernels
from tests.cli.test_completion import candidates
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal


@pytest.fixture(autouse=True)
def own_master(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    """Masters of this test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    (short_tmp / "sshpyk").mkdir(0o700)
    openssh.forget_all()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a host that accepts connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def marks(listed: Any, name: str) -> dict[str, tuple[str, str]]:
    """What is said of a kernel: mark and text by what was looked at."""
    (kernel,) = [kernel for kernel in listed if kernel["name"] == name]
    return {check["what"]: (check["mark"], check["text"]) for check in kernel["checks"]}


@pytest.mark.sshd
def test_ten_kernels_on_one_host_use_one_connection(tmp_path: Path, sshpyk: Call) -> None:
    with Sshd(home=tmp_path) as sshd:
        for number in range(10):
            write_spec(f"k{number}", sshd)
        result = sshpyk("list", "--remote", "--json")
        assert result.status == 0, result.err
        listed = result.json
        assert [kernel["name"] for kernel in listed] == [f"k{number}" for number in range(10)]
        found = marks(listed, "k7")
        assert found["SSH Connection"] == ("v", "ok")
        assert found["Remote Kernel Name"][0] == "v"
        assert found["Remote Launcher Python"][0] == "v"
        assert sys.executable in found["Remote Launcher Python"][1]
        assert sshd.said().count("Accepted publickey") == 1


@pytest.mark.sshd
def test_each_kind_of_trouble_has_its_line(
    sshd: Sshd, sandbox: Sandbox, silent: int, tmp_path: Path, sshpyk: Call
) -> None:
    config = tmp_path / "config"
    config.write_text(
        sshd.config_text("fine")
        + sshd.config_text("silent", port=silent)
        + sshd.config_text("refused", ["Port 1"])
        + sshd.config_text("keyless", ["PreferredAuthentications none"])
        + sshd.config_text("moved", ["UserKnownHostsFile none"])
        + sshd.config_text("key_gone", ["IdentityFile ~/no/such/key"])
        + sshd.config_text("behind", ["ProxyJump fine"])
    )
    write_spec("sandboxed", sandbox)
    for host in ("fine", "silent", "refused", "keyless", "moved", "key_gone", "behind"):
        write_spec(host, sshd, ssh_host_alias=host, ssh_config=str(config))
    other = {"ssh_config": str(config), "ssh_host_alias": "fine"}
    write_spec("no_python", sshd, **other, remote_python="/no/python")
    write_spec("no_kernel", sshd, **other, remote_kernel_name="nothing")
    write_spec("no_name", sshd, **other, remote_kernel_name="")
    write_spec("no_ssh", sshd, **other, ssh="/no/ssh")
    write_spec("no_config", sshd, ssh_config="/no/config")
    write_spec("odd", sshd, **other, from_the_future=1, launch_timeout="soon")
    begun = time.monotonic()
    result = sshpyk("list", "--remote", "--json", "--timeout", "6")
    assert time.monotonic() - begun < 30
    assert result.status == 1
    listed = result.json

    def says(name: str, what: str, mark: str, text: str) -> None:
        found = marks(listed, name)
        assert found[what][0] == mark, found
        assert text in found[what][1]

    says("fine", "SSH Connection", "v", "ok")
    says("sandboxed", "SSH Connection", "v", "ok")
    says("silent", "SSH Connection", "x", "does not answer")
    says("silent", "Remote Kernel Name", "?", "python3")
    says("refused", "SSH Connection", "x", "refused")
    says("keyless", "SSH Connection", "x", "sshpyk connect")
    says("moved", "SSH Connection", "x", "never confirmed")
    says("key_gone", "SSH Host Alias", "!", "~/no/such/key is not there")
    says("key_gone", "SSH Connection", "v", "ok")
    says("behind", "SSH Connection", "v", "ok")
    says("no_python", "Remote Launcher Python", "x", "/no/python")
    says("no_kernel", "Remote Kernel Name", "x", "no kernelspec nothing")
    says("no_name", "Remote Kernel Name", "x", "not set")
    says("no_ssh", "SSH", "x", "/no/ssh is not there")
    says("no_config", "SSH Config File", "x", "/no/config is not there")
    (odd,) = [kernel for kernel in listed if kernel["name"] == "odd"]
    warnings = " ".join(check["text"] for check in odd["checks"] if check["mark"] == "!")
    assert "from_the_future" in warnings
    assert "launch_timeout" in warnings
    (behind,) = [kernel for kernel in listed if kernel["name"] == "behind"]
    hosts = [check["text"] for check in behind["checks"] if check["what"] == "SSH Host Alias"]
    assert [text.split(" = ")[0] for text in hosts] == ["fine (jump)", "behind"]
    for kernel in listed:
        for check in kernel["checks"]:
            assert "\n" not in check["text"], check


@pytest.mark.sshd
def test_without_contacting_the_host(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("mine", sshd)
    before = sshd.log.read_text()
    result = sshpyk("list", "-r", "-n")
    assert result.status == 0
    assert "(?) SSH Connection: not checked" in result.out
    assert "(v) SSH Host Alias: sshd = " in result.out
    assert sshd.log.read_text() == before


def test_local_and_remote(sshpyk: Call) -> None:
    for name, provisioner in (("ours", "sshpyk-provisioner"), ("theirs", "other")):
        (kernels() / name).mkdir(parents=True)
        stanza = {"provisioner_name": provisioner, "config": {"ssh_host_alias": "h"}}
        content = {"argv": ["x"], "metadata": {"kernel_provisioner": stanza}}
        (kernels() / name / "kernel.json").write_text(json.dumps(content))

    def listed(*words: str) -> set[str]:
        names = {kernel["name"] for kernel in sshpyk("list", "-n", "--json", *words).json}
        return names & {"ours", "theirs"}

    assert listed() == listed("-r", "-l") == {"ours", "theirs"}
    assert listed("--remote") == {"ours"}
    assert listed("--local") == {"theirs"}


SHAPES: list[Any] = [[], 1, None, {}, {"argv": 1}, {"metadata": []}, {"metadata": {"x": 1}}]
OURS: list[Any] = [{}, {"config": []}, {"config": {"ssh_host_alias": 5, "env": 1, "setup": {}}}]


@pytest.mark.parametrize("command", ["list", "doctor", "edit", "delete", "completion"])
def test_kernel_jsons_of_any_shape(sshpyk: Call, command: str) -> None:
    stanzas = [{"provisioner_name": "sshpyk-provisioner", **stanza} for stanza in OURS]
    shapes = SHAPES + [{"metadata": {"kernel_provisioner": stanza}} for stanza in stanzas]
    for number, content in enumerate(shapes):
        (kernels() / f"k{number}").mkdir(parents=True)
        (kernels() / f"k{number}" / "kernel.json").write_text(json.dumps(content))
    if command == "completion":
        assert "k8" in candidates("edit", "")
    elif command in ("list", "doctor"):
        result = sshpyk(command)
        assert result.status == 1
        assert "Traceback" not in result.err
    else:
        for number in range(len(shapes)):
            words = ("--env", "A=1") if command == "edit" else ()
            result = sshpyk(command, f"k{number}", *words)
            assert result.status == 2 or number >= len(SHAPES)
            assert "Traceback" not in result.err


@pytest.mark.sshd
def test_colour_only_on_a_terminal(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("mine", sshd)
    assert "\x1b" not in sshpyk("list", "-n").out
    words = [sys.executable, "-m", "sshpyk.cli", "list", "-r"]
    with Terminal(words) as terminal:
        terminal.expect("Remote Kernel Name")
        assert terminal.end() == 0
        assert "\x1b[32m(v)" in terminal.text
    with Terminal(words, {"NO_COLOR": "1"}) as terminal:
        terminal.expect("Remote Kernel Name")
        assert terminal.end() == 0
        assert "\x1b[32m" not in terminal.text


def test_names_can_not_steer_the_terminal(sshpyk: Call) -> None:
    (kernels() / "mine").mkdir(parents=True)
    content = {"argv": ["x"], "display_name": "\x1b]0;owned\x07 [bold]x[/] ä"}
    (kernels() / "mine" / "kernel.json").write_text(json.dumps(content))
    out = sshpyk("list", "-n").out
    assert "\x1b" not in out
    assert "[bold]x[/] ä" in out


def test_a_reader_that_leaves_early(sshpyk: Call) -> None:
    for number in range(3):
        (kernels() / f"k{number}").mkdir(parents=True)
        (kernels() / f"k{number}" / "kernel.json").write_text('{"argv": ["x"]}')
    command = f"{sys.executable} -m sshpyk.cli list -n | head -1"
    with os.popen(f"{{ {command}; }} 2>&1") as output:
        assert "Traceback" not in output.read()
