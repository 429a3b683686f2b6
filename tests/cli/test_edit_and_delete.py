"""`sshpyk add --no-check`, `edit` and `delete`: from words to what is in kernel.json."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.cli.conftest import Call, config_of, kernels, names, written

ADD = ("add", "--no-check", "--ssh-host-alias", "host", "--remote-kernel-name", "python3")


def add(sshpyk: Call, *words: str) -> None:
    result = sshpyk(*ADD, "--kernel-name", "mine", *words)
    assert result.status == 0, result.err


def test_the_form_of_1_25(sshpyk: Call) -> None:
    add(sshpyk, "--display-name", "Mine Ä", "--remote-python", "/p", "--language", "python")
    assert written("mine") == {
        "argv": [
            sys.executable,
            "-m",
            "sshpyk.kernelapp",
            "--SSHKernelApp.kernel_name=mine",
            "--KernelManager.connection_file={connection_file}",
        ],
        "display_name": "Mine Ä",
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "sshpyk-provisioner",
                "config": {
                    "ssh_host_alias": "host",
                    "remote_python": "/p",
                    "remote_kernel_name": "python3",
                },
            }
        },
    }


SETTINGS = [
    (("--launch-timeout", "60"), {"launch_timeout": 60}),
    (("--shutdown-timeout", "5"), {"shutdown_timeout": 5}),
    (("--remote-python-prefix", "/opt/env/"), {"remote_python": "/opt/env/bin/python"}),
    (("--env", "A=1", "--env", "B=x=y $HOME"), {"env": {"A": "1", "B": "x=y $HOME"}}),
    (("--send-env", "A", "--send-env", "B_*"), {"send_env": ["A", "B_*"]}),
    (("--cwd", "/some dir"), {"remote_cwd": "/some dir"}),
    (("--setup", "module load x", "--setup", "y"), {"setup": ["module load x", "y"]}),
    (("--login-shell",), {"login_shell": True}),
    (("--no-persistent",), {"persistent": False}),
    (("--lease", "7.5"), {"lease": 7.5}),
    (("--ssh", sys.executable), {"ssh": sys.executable}),
    (("--ssh-verbose", "vvv"), {"ssh_verbose": "vvv"}),
    (("--remote-pythonhome", "/a"), {"remote_pythonhome": "/a"}),
    (("--remote-kernel-pythonhome", "/b"), {"remote_kernel_pythonhome": "/b"}),
    (("--session", "work"), {"session": "work"}),
]


@pytest.mark.parametrize(("words", "settings"), SETTINGS, ids=lambda value: str(value)[:30])
def test_settings_become_keys(
    sshpyk: Call, words: tuple[str, ...], settings: dict[str, Any]
) -> None:
    from sshpyk.jupyter.settings import Settings

    if not set(settings) <= set(Settings.class_traits()):
        pytest.skip("not a setting yet")
    common = {"ssh_host_alias": "host", "remote_kernel_name": "python3"}
    add(sshpyk, *words)
    assert config_of("mine") == {**common, **settings}

    add(sshpyk, "--replace")
    assert config_of("mine") == common
    assert sshpyk("edit", "--kernel-name", "mine", *words).status == 0
    assert config_of("mine") == {**common, **settings}

    (key,) = settings
    result = sshpyk("edit", "mine", "--unset", key.replace("_", "-"))
    assert result.status == 0
    assert f"mine: {key}: {settings[key]!r} → not set" in result.out
    assert config_of("mine") == common


WRONG = [
    ("edit", "mine"),  # nothing to change
    ("edit", "mine", "--unset", "nothing-of-the-kind"),
    ("edit", "mine", "--unset", "ssh-host-alias"),
    ("edit", "mine", "--env", "A=1", "--unset", "env"),
    ("edit", "mine", "--env", "no equals"),
    ("edit", "mine", "--env", "A-B=1"),
    ("edit", "mine", "--launch-timeout", "-1"),
    ("edit", "mine", "--launch-timeout", "ten"),
    ("edit", "mine", "--colour", "red"),
    ("edit", "mine", "--ssh-config", "/nowhere/at/all"),
    ("edit", "mine", "--remote-python", "/a", "--remote-python-prefix", "/b"),
    ("edit", "mine", "--ssh-host-alias", "-oProxyCommand=touch /tmp/x"),
    ("edit", "other", "--env", "A=1"),
    ("edit", "--env", "A=1"),
    ("delete", "other"),
    ("delete", "mine", "other"),
    ("delete",),
    ("add", "--no-check", "--ssh-host-alias", "host", "--kernel-name", "mine"),
    (*ADD, "--kernel-name", "mine"),  # without --replace
    (*ADD, "--kernel-name", "a b"),
    (*ADD, "--kernel-name", "../up"),
    (*ADD, "--kernel-name", "x", "--display-name", "two\nlines"),
    ("unheard-of",),
    (),
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_mistakes_are_refused_and_change_nothing(sshpyk: Call, words: tuple[str, ...]) -> None:
    add(sshpyk)
    other = kernels() / "other"
    other.mkdir()
    (other / "kernel.json").write_text('{"argv": ["x"]}')
    before = {name: written(name) for name in names()}
    result = sshpyk(*words)
    assert result.status == 2
    assert result.err.strip()
    assert "Traceback" not in result.err
    assert before == {name: written(name) for name in names()}
    if "other" in words:
        assert f"not one of sshpyk's ({other})" in result.err or words == ("other",)


def test_delete_removes_ours_and_says_so(sshpyk: Call) -> None:
    add(sshpyk)
    result = sshpyk("delete", "MINE")
    assert (result.status, names()) == (0, [])
    assert f"mine: removed {kernels() / 'mine'}" in result.out
    assert sshpyk("delete", "mine").status == 2


def test_edit_keeps_what_it_does_not_know(sshpyk: Call) -> None:
    add(sshpyk)
    content = written("mine")
    content["metadata"]["theirs"] = {"a": 1}
    content["metadata"]["kernel_provisioner"]["config"]["from_the_future"] = 1
    (kernels() / "mine" / "kernel.json").write_text(json.dumps(content))
    assert sshpyk("edit", "mine", "--display-name", "New", "--language", "R").status == 0
    content.update(display_name="New", language="R")
    assert written("mine") == content
    assert sshpyk("edit", "mine", "--unset", "from_the_future").status == 0
    assert "from_the_future" not in config_of("mine")


def test_env_of_edit_adds(sshpyk: Call) -> None:
    add(sshpyk, "--env", "A=1")
    assert sshpyk("edit", "mine", "--env", "B=2").status == 0
    assert config_of("mine")["env"] == {"A": "1", "B": "2"}


def test_a_broken_kernel_json_is_named(sshpyk: Call) -> None:
    (kernels() / "broken").mkdir(parents=True)
    (kernels() / "broken" / "kernel.json").write_text("{")
    for command in ("edit", "delete"):
        words = ("--env", "A=1") if command == "edit" else ()
        result = sshpyk(command, "broken", *words)
        assert result.status == 2
        assert "is not JSON" in result.err
    assert "broken" in sshpyk("list", "--no-check").out


def test_a_kernelspec_that_is_a_link_loses_only_the_link(sshpyk: Call, tmp_path: Any) -> None:
    add(sshpyk)
    target = tmp_path / "target"
    (kernels() / "mine").rename(target)
    (kernels() / "mine").symlink_to(target)
    assert sshpyk("delete", "mine").status == 0
    assert names() == []
    assert os.listdir(target) == ["kernel.json"]


def test_paths_of_this_machine_are_made_absolute(
    sshpyk: Call, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("")
    add(sshpyk, "--ssh-config", "config")
    assert config_of("mine")["ssh_config"] == str(tmp_path / "config")
