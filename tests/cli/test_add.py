"""`sshpyk add`: from words to what is in kernel.json, on a host with several environments."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sshpyk.cli.candidates import choose, unique
from sshpyk.demo.sandbox import Sandbox
from sshpyk.errors import SettingsError
from tests.cli.conftest import Call, config_of, kernels, names, written
from tests.cli.hosts import AWKWARD, LOGO, RichHost
from tests.lab.kernels import run_code, started
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal

OURS = {"ssh_rich_ml", "ssh_rich_ds", "ssh_rich_mit_umlaut_", "ssh_rich_mylang"}


@pytest.mark.sshd
def test_all_that_is_ready(rich: RichHost, sshpyk: Call) -> None:
    result = sshpyk("add", "rich", "--ssh-config", rich.config, "--all")
    assert result.status == 0, result.err
    assert set(names()) >= OURS
    assert not {"ssh_rich_plain", "ssh_rich_gone"} & set(names())
    assert config_of("ssh_rich_ml") == {
        "ssh_host_alias": "rich",
        "ssh_config": rich.config,
        "remote_python": str(rich.ml),
        "remote_kernel_name": "python3",
    }
    assert written("ssh_rich_ml")["display_name"] == "Python 3 (ml) @ rich"
    again = sshpyk("add", "rich", "--ssh-config", rich.config, "--all")
    assert again.status == 0
    assert "ssh_rich_ml: is there already" in again.err


@pytest.mark.sshd
def test_what_comes_along_of_the_remote_kernelspec(rich: RichHost, sshpyk: Call) -> None:
    assert sshpyk("add", "rich", "mylang", "--ssh-config", rich.config).status == 0
    content = written("ssh_rich_mylang")
    assert content["display_name"] == "My Läng @ rich"
    assert content["language"] == "mylang"
    metadata = content["metadata"]
    assert (metadata["debugger"], metadata["supported_encryption"]) == (True, "curve")
    assert "other" not in metadata
    files = {path.name: path.read_bytes() for path in (kernels() / "ssh_rich_mylang").iterdir()}
    assert set(files) == {"kernel.json", "logo-64x64.png"}  # and no script of the host's
    assert files["logo-64x64.png"] == LOGO


@pytest.mark.sshd
@pytest.mark.parametrize("how", ["ml", "ML", "path", "prefix", "--remote-python"])
def test_one_is_named(rich: RichHost, sshpyk: Call, how: str) -> None:
    prefix = str(rich.ml.parent.parent)
    words = {"path": (str(rich.ml),), "prefix": (prefix,), "--remote-python": (how, str(rich.ml))}
    result = sshpyk("add", "rich", *words.get(how, (how,)), "--ssh-config", rich.config)
    assert result.status == 0, result.err
    assert names() == ["ssh_rich_ml"]
    assert config_of("ssh_rich_ml")["remote_python"] == str(rich.ml)


@pytest.mark.sshd
@pytest.mark.parametrize("how", ["path", "prefix"])
def test_a_python_is_named_where_nobody_would_look(rich: RichHost, sshpyk: Call, how: str) -> None:
    words = ("--ssh-config", rich.config, "--all")
    assert sshpyk("add", "rich", *words).status == 0
    assert "ssh_rich_place" not in names()
    named = rich.hidden if how == "path" else rich.hidden.parent.parent
    result = sshpyk("add", "rich", str(named), *words[:2])
    assert result.status == 0, result.err
    assert config_of("ssh_rich_place")["remote_python"] == str(rich.hidden)
    nowhere = sshpyk("add", "rich", "/no/such/bin/python", *words[:2])
    assert nowhere.status == 2
    assert "'/no/such/bin/python' names 0 of the kernels on rich" in nowhere.err


@pytest.mark.sshd
def test_names_may_stand_between_options(rich: RichHost, sshpyk: Call) -> None:
    words = ("--ssh-config", rich.config, "ds", "--dry-run", "ml")
    result = sshpyk("add", "rich", *words)
    assert result.status == 0, result.err
    assert result.out.count("kernel_provisioner") == 2
    assert sshpyk("add", "rich", *words, "--nonsense", "x").status == 2
    assert sshpyk("doctor", "rich", "--no-launch", "more").status == 2


@pytest.mark.sshd
def test_an_added_kernel_starts_in_its_environment(rich: RichHost, sshpyk: Call) -> None:
    words = ("--ssh-config", rich.config, "--kernel-name", "awk", "--env", "A=1 $HOME ä")
    assert sshpyk("add", "rich", AWKWARD, *words).status == 0
    with started("awk") as (_, client):
        code = "import os, sys; print(sys.prefix, os.environ['A'])"
        expected = f"{rich.awkward.parent.parent} 1 {rich.home} ä\n"
        assert run_code(client, code) == expected


@pytest.mark.sshd
def test_the_form_of_1_25(rich: RichHost, sshpyk: Call) -> None:
    form = [
        *("add", "--ssh-config", rich.config, "--ssh-host-alias", "rich"),
        *("--kernel-name", "my_kernel", "--display-name", "Mein Kernel"),
        *("--remote-python", str(rich.ml), "--remote-kernel-name", "python3"),
        *("--language", "python", "--launch-timeout", "60", "--shutdown-timeout", "20"),
    ]
    result = sshpyk(*form)
    assert result.status == 0, result.err
    assert written("my_kernel")["metadata"]["debugger"] is True
    assert sshpyk(*form).status == 2
    assert sshpyk(*form, "--replace").status == 0
    position = form.index("--remote-python")
    form[position : position + 2] = ["--remote-python-prefix", str(rich.ml.parent.parent)]
    assert sshpyk(*form, "--replace").status == 0
    assert config_of("my_kernel") == {
        "ssh_host_alias": "rich",
        "ssh_config": rich.config,
        "remote_python": str(rich.ml),
        "remote_kernel_name": "python3",
        "launch_timeout": 60,
        "shutdown_timeout": 20,
    }


@pytest.mark.sshd
def test_a_dry_run_writes_nothing(rich: RichHost, sshpyk: Call) -> None:
    result = sshpyk("add", "rich", "ml", "--ssh-config", rich.config, "--dry-run")
    assert result.status == 0
    config = result.json["metadata"]["kernel_provisioner"]["config"]
    assert config["remote_python"] == str(rich.ml)
    assert names() == []


#: Words behind `add`, the exit status, and what must be said.
REFUSED = [
    (("rich",), 2, "name what to add"),
    (("rich", "nonsense"), 2, "'nonsense' names 0 of the kernels"),
    (("rich", "python3"), 2, "should name one"),
    (("rich", "gone"), 1, "its program /no/such/program is not there"),
    (("rich", "plain"), 1, "has no ipykernel"),
    (("rich", "plain", "--install-ipykernel"), 1, "--yes"),
    (("rich", "ml", "ds", "--kernel-name", "x"), 2, "can't share one"),
    (("rich", "--ssh-host-alias", "other"), 2, "two hosts"),
    (("rich", "ml", "--setup", "echo mended; false"), 1, "setup lines failed"),
    (("rich", "ml", "--remote-python", "/no/python"), 1, "/no/python"),
    (("rich", "--remote-python", "/no/python", "--remote-kernel-name", "x"), 1, "/no/python"),
    (("--ssh-host-alias", "rich", "--remote-python", "ML", "--remote-kernel-name", "x"), 1, "myl"),
    (("no-such-host.invalid", "ml"), 1, "can't be resolved"),
    (("dead",), 1, "refused"),
    (("keyless",), 1, "sshpyk connect"),
    (("-oProxyCommand=touch x",), 2, ""),
    ((), 2, "No host"),
]


@pytest.mark.sshd
@pytest.mark.parametrize(("words", "status", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_can_not_be_is_said_and_nothing_written(
    rich: RichHost,
    sshpyk: Call,
    tmp_path: Path,
    words: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    config = tmp_path / "config"
    config.write_text(
        rich.sshd.config_text("rich")
        + rich.sshd.config_text("dead", ["Port 1"])
        + rich.sshd.config_text("keyless", ["PreferredAuthentications none"])
    )
    words = tuple(str(rich.ml) if word == "ML" else word for word in words)
    result = sshpyk("add", *words, "--ssh-config", str(config))
    assert result.status == status, result.err
    assert said in result.err
    assert "Traceback" not in result.err
    assert names() == []


@pytest.mark.sshd
def test_a_setup_line_brings_an_environment(rich: RichHost, sshpyk: Call) -> None:
    common = ("add", "rich", "--ssh-config", rich.config)
    line = f"echo noise; export PATH={rich.hidden.parent}:$PATH"
    assert str(rich.hidden) not in sshpyk(*common, "--all", "--dry-run").out
    assert str(rich.hidden) in sshpyk(*common, "--all", "--dry-run", "--setup", line).out
    result = sshpyk(*common, str(rich.hidden), "--kernel-name", "h", "--setup", line)
    assert result.status == 0, result.err
    assert config_of("h")["setup"] == [line]
    with started("h") as (_, client):
        assert run_code(client, "import sys; print(sys.prefix)") == f"{rich.home}/hidden/place\n"


@pytest.mark.sshd
def test_a_login_shell_brings_an_environment(rich: RichHost, sshpyk: Call) -> None:
    profile = rich.home / ".profile"
    profile.write_text(f"echo Welcome\nexport PATH={rich.hidden.parent}:$PATH\n")
    try:
        common = ("add", "rich", "--ssh-config", rich.config)
        assert str(rich.hidden) in sshpyk(*common, "--all", "--dry-run").out
        result = sshpyk(*common, str(rich.hidden), "--kernel-name", "h")
    finally:
        profile.unlink()
    assert result.status == 0, result.err
    with started("h") as (_, client):
        assert run_code(client, "import sys; print(sys.prefix)") == f"{rich.home}/hidden/place\n"


@pytest.mark.sshd
def test_ipykernel_is_installed_where_that_is_wanted(tmp_path: Path, sshpyk: Call) -> None:
    rich = RichHost(tmp_path / "home")
    try:
        words = ("add", "rich", "plain", "--ssh-config", rich.config)
        result = sshpyk(*words, "--install-ipykernel", "--yes")
        assert result.status == 0, result.err
        assert "ipykernel 9.9.9 is installed" in result.err
        assert config_of("ssh_rich_plain")["remote_python"] == str(rich.plain)
    finally:
        rich.close()


@pytest.mark.sshd
def test_an_installation_that_fails_is_told(tmp_path: Path, sshpyk: Call) -> None:
    rich = RichHost(tmp_path / "home")
    try:
        pip = next(rich.plain.parent.parent.glob("lib/python3*/site-packages/pip/__main__.py"))
        pip.write_text("raise SystemExit('ERROR: externally-managed-environment')")
        words = ("add", "rich", "plain", "--ssh-config", rich.config)
        result = sshpyk(*words, "--install-ipykernel", "--yes")
        assert result.status == 1
        assert "externally-managed-environment" in result.err
        assert names() == []
    finally:
        rich.close()


@pytest.mark.sshd
def test_a_host_whose_python3_is_broken(tmp_path: Path, sshpyk: Call) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin/python3").write_text("#!/bin/sh\nexit 127\n")
    (home / "bin/python3").chmod(0o755)
    environment = {"PATH": f"{home}/bin:/usr/bin:/bin"}
    rich = RichHost(home, environment=environment)
    (home / "miniforge3/bin").mkdir()
    (home / "miniforge3/bin/python3").symlink_to(sys.executable)
    try:
        result = sshpyk("add", "rich", "ml", "--ssh-config", rich.config)
        assert result.status == 0, result.err
    finally:
        rich.close()


@pytest.mark.sshd
def test_a_person_chooses_and_names(rich: RichHost, sshpyk: Call) -> None:
    words = [sys.executable, "-m", "sshpyk.cli", "add", "rich", "--ssh-config", rich.config]
    with Terminal(words, {"COLUMNS": "300"}) as terminal:
        table = terminal.expect("Which to add")
        (line,) = [line for line in table.splitlines() if " ml " in line]
        terminal.type(line.split()[0])
        terminal.expect("Name in Jupyter [Python 3 (ml) @ rich]:")
        terminal.type("Süß \x1b[31m")
        terminal.expect("added")
        assert terminal.end() == 0
        assert "\x1b[31m'" not in terminal.text
    assert written("ssh_rich_ml")["display_name"].startswith("Süß")


@pytest.mark.sshd
def test_a_person_is_asked_before_anything_is_installed(tmp_path: Path) -> None:
    rich = RichHost(tmp_path / "home")
    words = [sys.executable, "-m", "sshpyk.cli", "add", "rich", "plain"]
    try:
        with Terminal([*words, "--ssh-config", rich.config]) as terminal:
            terminal.expect("Install it there now? [y/N]")
            terminal.type("")
            assert terminal.end() == 0
        assert names() == []
        with Terminal([*words, "--ssh-config", rich.config]) as terminal:
            terminal.expect("Install it there now? [y/N]")
            terminal.type("y")
            terminal.expect("Name in Jupyter")
            terminal.type("")
            assert terminal.end() == 0
        assert names() == ["ssh_rich_plain"]
    finally:
        rich.close()


def test_the_sandbox_too(sandbox: Sandbox, sshpyk: Call) -> None:
    words = ("--remote-python", sys.executable, "--remote-kernel-name", "python3")
    result = sshpyk("add", sandbox.host, "--ssh-config", str(sandbox.ssh_config), *words)
    assert result.status == 0, result.err
    assert names() == ["ssh_sandbox_python3"]
    with started("ssh_sandbox_python3") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"


@pytest.mark.sshd
@pytest.mark.parametrize("shell", ["/bin/tcsh", "/usr/bin/fish", "/usr/bin/zsh"])
def test_hosts_with_other_shells(shell: str, remote_home: Path, sshpyk: Call) -> None:
    if not Path(shell).exists():
        pytest.skip(f"there is no {shell} here")
    with Sshd(home=remote_home, shell=shell) as sshd:
        words = ("--remote-python", sys.executable, "--dry-run")
        result = sshpyk("add", "sshd", *words, "--ssh-config", str(sshd.ssh_config))
    assert result.status == 0, result.err
    assert json.loads(result.out)["language"] == "python"


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("1", [0]), ("3 1", [2, 0]), ("1,2, 2", [0, 1]), ("2-4", [1, 2, 3]), ("ALL", [0, 1, 2, 3])],
)
def test_choosing(text: str, chosen: list[int]) -> None:
    assert choose(text, 4) == chosen


@pytest.mark.parametrize("text", ["0", "5", "3-2", "x", "1-", "²", "-1"])
def test_choosing_what_is_not_there(text: str) -> None:
    with pytest.raises(SettingsError):
        choose(text, 4)


def test_names_are_unique() -> None:
    assert unique("a", ["b"]) == "a"
    assert unique("a", ["a", "a_2"]) == "a_3"
