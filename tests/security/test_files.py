"""Hostile or broken kernel.json and persistence files: refused by name, before any process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.agent import boot, kernelspecs, records
from sshpyk.jupyter import persistence
from sshpyk.jupyter.settings import Settings
from sshpyk.transport import jobs
from tests.security.conftest import Intruder


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A program in ssh's place that tells whether it was ever started."""
    path = tmp_path / "ssh"
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexit 255\n")
    path.chmod(0o700)
    return path


def start(ssh: Path, config: object) -> str:
    """Start a kernel of these settings, which must fail with no process; what the user reads."""
    directory = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "hostile"
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(config, dict):
        config = {"ssh": str(ssh), "ssh_host_alias": "host", "remote_kernel_name": "x", **config}
    stanza = {"provisioner_name": "sshpyk-provisioner", "config": config}
    content = {
        "argv": ["false"],
        "display_name": "x",
        "language": "x",
        "metadata": {"kernel_provisioner": stanza},
    }
    (directory / "kernel.json").write_text(json.dumps(content))
    with pytest.raises(errors.SettingsError) as caught:
        KernelManager(kernel_name="hostile").start_kernel()
    assert not (ssh.parent / "begun").exists(), "a process was started"
    assert len(str(caught.value)) < 2000
    return str(caught.value)


UNKNOWN: dict[str, tuple[str, str]] = {
    "a mistyped one": ("remote_pyhton", "Did you mean remote_python?"),
    "another program's": ("autorestart_forever", "There are: "),
    "one of the object's own": ("connection_info", "there is no setting 'connection_info'"),
    "a long one": ("x" * 10_000, "there is no setting"),
    "one with strange letters": ("\x1b]0;owned\x07", "there is no setting"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_settings_are_named(ssh: Path, name: str) -> None:
    key, said = UNKNOWN[name]
    text = start(ssh, {key: "value"})
    assert said in " ".join(text.split())  # its lines end where a dialog's do
    assert "hostile/kernel.json" in text
    assert "\x1b" not in text


TYPES: dict[str, tuple[str, Any]] = {
    "a host that is a list": ("ssh_host_alias", ["a"]),
    "a host that is an object": ("ssh_host_alias", {}),
    "a timeout that is text": ("launch_timeout", "soon"),
    "a timeout that is negative": ("launch_timeout", -1),
    "no timeout at all": ("launch_timeout", 0),
    "a shutdown that takes less than nothing": ("shutdown_timeout", -5),
    "a lease that is negative": ("lease", -1),
    "a lease that is endless": ("lease", float("inf")),
    "a lease that is no number": ("lease", float("nan")),
    "a limit below nothing": ("memory_limit", -1),
    "a spool below nothing": ("spool_limit", -1),
    "an environment that is a list": ("env", ["A=1"]),
    "a value that is a number": ("env", {"A": 1}),
    "a name with =": ("env", {"A=B": "1"}),
    "a value with NUL": ("env", {"A": "\0"}),
    "names that are a number": ("send_env", 5),
    "setup lines that are numbers": ("setup", [1, 2]),
    "a switch that is text": ("persistent", "perhaps"),
    "an unknown verbosity": ("ssh_verbose", "vvvv"),
    "a Python that is an option": ("remote_python", "-c"),
    "a kernel that is an option": ("remote_kernel_name", "--help"),
    "a directory with a newline": ("remote_cwd", "a\nb"),
    "a configuration with NUL": ("ssh_config", "a\0b"),
}


@pytest.mark.parametrize("name", TYPES)
def test_values_that_can_not_be_are_named(ssh: Path, name: str) -> None:
    key, value = TYPES[name]
    text = start(ssh, {key: value})
    assert key in text
    assert "hostile/kernel.json" in text


HOSTS = (
    "-oProxyCommand=touch /tmp/x",
    "--",
    "user@-oProxyCommand=x",
    "a b",
    "a\tb",
    "a\nProxyCommand x",
    "a;touch x",
    "a|b",
    "a&b",
    "$(id)",
    "`id`",
    "a'b",
    'a"b',
    "a\\b",
    "us;er@host",
    "a\u202eb c",
    "a\x00b",
    "a\x1b[2J",
    "x" * 1000,
    "",
)


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_no_host_is_refused(ssh: Path, host: str) -> None:
    assert "host" in start(ssh, {"ssh_host_alias": host}).lower()


def test_an_ssh_that_is_not_there_is_named(ssh: Path) -> None:
    assert "The ssh program /nonexistent/ssh is not there" in start(
        ssh, {"ssh": "/nonexistent/ssh"}
    )


def test_a_configuration_that_is_not_there_is_named(ssh: Path) -> None:
    assert "/nonexistent/config is not there" in start(ssh, {"ssh_config": "/nonexistent/config"})


@pytest.mark.parametrize("python", ["py!thon", "python\\", "a\x07b", "it\\'s", "back\\\\slash"])
def test_paths_that_shells_read_differently_are_refused(python: str) -> None:
    with pytest.raises(errors.SettingsError):
        jobs.command_line(python)


def test_every_setting_of_sshpyk_1_25_is_known() -> None:
    names = "ssh_host_alias ssh_config remote_python remote_kernel_name launch_timeout ssh"
    names += " shutdown_time shutdown_timeout ssh_verbose independent_local_processes existing"
    names += " persistent persistent_file remote_pythonhome remote_kernel_pythonhome"
    assert set(names.split()) <= set(Settings.class_trait_names(config=True))


# -- persistence files -----------------------------------------------------------------------------

SOCKETS = {name: f"/tmp/s/{name}" for name in ("shell", "iopub", "stdin", "control", "hb", "agent")}


def content(**changed: object) -> dict[str, Any]:
    """A good file's content, with some parts (`agent__id`) changed."""
    good: dict[str, Any] = {
        "version": persistence.VERSION,
        "kernel_id": "some-kernel",
        "host": {"host": "host", "ssh": None, "ssh_config": None, "node": None},
        "agent": {
            "id": "some-kernel",
            "token": "0" * 64,
            "python": "python3",
            "listening": dict(SOCKETS),
            "node": "node1",
            "boot_id": "boot",
        },
        "keys": {"key": "k", "signature_scheme": "hmac-sha256"},
    }
    for path, value in changed.items():
        place = good
        *parts, last = path.split("__")
        for part in parts:
            place = place[part]
        place[last] = value
    return good


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    saved = persistence.read(write(tmp_path / "file", json.dumps(content())))
    assert saved.agent.token == "0" * 64
    assert saved.agent.token not in repr(saved)
    assert saved.agent.token not in repr(saved.agent)
    assert "'k'" not in repr(saved)


FILES: dict[str, str] = {
    "empty": "",
    "no JSON": "kernel",
    "a list": "[]",
    "a number": "1",
    "deep": "[" * 100_000,
    "an object": "{}",
    "huge": json.dumps("x" * (2 << 20)),
    "another version": json.dumps(content(version=99)),
    "a version that is a list": json.dumps(content(version=[2])),
    "a host that is a text": json.dumps(content(host="host")),
    "a host with more": json.dumps(content(host={"host": "a", "command": "touch x"})),
    "a host that is a number": json.dumps(content(host__host=5)),
    "a host that is an option": json.dumps(content(host__host="-oProxyCommand=touch x")),
    "a host that is a command": json.dumps(content(host__host="$(touch x)")),
    "an ssh that is a list": json.dumps(content(host__ssh=["sh", "-c"])),
    "an id that climbs": json.dumps(content(agent__id="../../.ssh")),
    "an id that is a number": json.dumps(content(agent__id=1)),
    "no token": json.dumps(content(agent__token=None)),
    "a token of strange letters": json.dumps(content(agent__token="ü" * 64)),
    "a Python that is an option": json.dumps(content(agent__python="-c")),
    "a Python that is a list": json.dumps(content(agent__python=["python"])),
    "a node that is an option": json.dumps(content(agent__node="-oProxyCommand=x")),
    "a node that is a command": json.dumps(content(agent__node="a;b")),
    "listening that is a text": json.dumps(content(agent__listening="here")),
    "listening nowhere": json.dumps(content(agent__listening={})),
    "listening at a number too large": json.dumps(content(agent__listening__shell=65536)),
    "listening at nought": json.dumps(content(agent__listening__shell=0)),
    "listening elsewhere": json.dumps(content(agent__listening__shell="internal.host:22")),
    "listening at two places": json.dumps(content(agent__listening__shell="/a:/b")),
    "listening at a path too long": json.dumps(content(agent__listening__shell="/" + "x" * 200)),
    "no keys": json.dumps(content(keys={})),
    "keys that are a list": json.dumps(content(keys=["k"])),
    "a key that is a number": json.dumps(content(keys={"key": 1, "signature_scheme": "x"})),
    "a kernel that is a list": json.dumps(content(kernel_id=[])),
    "a file of sshpyk 1.25": json.dumps({"kernel_id": "x", "rem_sys_name": "y", "rem_pid_k": 1}),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_persistence_files_are_refused(ssh: Path, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "sshpyk-kernel-x.json", FILES[name])
    with pytest.raises(errors.SshpykError) as caught:
        persistence.read(path)
    assert len(str(caught.value)) < 2000
    assert "0" * 64 not in str(caught.value), "the token"
    assert not (tmp_path / "begun").exists()


def test_a_start_with_a_broken_persistence_file_begins_no_process(
    ssh: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "broken.json", json.dumps(content(agent__id="../../x")))
    assert "../../x" in start(ssh, {"existing": path})


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_persistence_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "file", json.dumps(content()), mode)
    with pytest.raises(errors.SettingsError, match=f"chmod 600 {path}"):
        persistence.read(path)


def test_a_persistence_file_of_another_user_is_refused(tmp_path: Path, intruder: Intruder) -> None:
    """It names the program that is run as ssh, and `existing` looks in the current directory."""
    path = write(tmp_path / "file", json.dumps(content(host__ssh="/tmp/evil")))
    os.chown(path, intruder.uid, intruder.gid)
    with pytest.raises(errors.SettingsError, match=r"belongs\s+to\s+another\s+user"):
        persistence.read(path)


def test_a_pipe_in_place_of_a_persistence_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(errors.SettingsError, match=r"no\s+regular\s+file"):
        persistence.read(str(tmp_path / "pipe"))


def test_a_kernels_id_does_not_climb() -> None:
    path = persistence.default_path("../../../etc/cron.d/x")
    assert os.path.dirname(path) == os.environ["JUPYTER_RUNTIME_DIR"]


# -- on the host -----------------------------------------------------------------------------------


BROKEN = ("", "no", "[]", "[" * 100_000, "{}", "\ufeff{}", '"' + "x" * (2 << 20))
WRONG = ('{"argv": "sh -c x"}', '{"argv": {}}', '{"argv": []}', '{"argv": ["x"], "env": "A=1"}')


@pytest.mark.parametrize("text", [*BROKEN, *WRONG], ids=lambda text: text[:30] or "empty")
def test_broken_kernelspecs_of_the_host_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "kernel.json").write_text(text)
    assert kernelspecs.load(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["../../secret", "/etc", "nosuch", "a\nb"])
def test_a_kernels_name_leads_to_a_kernelspec_or_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(boot.Failed) as caught:
        kernelspecs.find(name, {"JUPYTER_DATA_DIR": str(tmp_path)})
    assert caught.value.fields["error"] == "no-kernelspec"


def test_what_is_found_out_by_an_id_stays_below_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "record.json").write_text('{"token": "somebody else\'s"}')
    (tmp_path / "outside.ended.json").write_text("{}")
    assert records.read_ended("../../../outside") is None


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "null", "\x00"])
def test_broken_records_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert records.read(str(tmp_path / "record.json")) is None
