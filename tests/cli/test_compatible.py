"""What sshpyk 1.25 wrote and took still works."""

from __future__ import annotations

import json
import sys

import pytest

from tests.cli.conftest import Call, config_of, kernels, written
from tests.cli.hosts import RichHost
from tests.lab.kernels import run_code, started


@pytest.mark.sshd
def test_its_kernel_json_starts_unchanged(rich: RichHost, sshpyk: Call) -> None:
    (kernels() / "old").mkdir(parents=True)
    content = {
        "argv": [
            sys.executable,
            "/opt/bin/sshpyk-kernel",
            "--SSHKernelApp.kernel_name=old",
            "--KernelManager.connection_file='{connection_file}'",
        ],
        "display_name": "Remote Python 3.12",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "sshpyk-provisioner",
                "config": {
                    "ssh": None,
                    "ssh_host_alias": "rich",
                    "remote_python": str(rich.ml),
                    "remote_kernel_name": "python3",
                    "ssh_config": rich.config,
                    "launch_timeout": 40,
                    "shutdown_timeout": 20,
                },
            }
        },
    }
    (kernels() / "old" / "kernel.json").write_text(json.dumps(content))
    with started("old") as (manager, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
        provisioner = manager.provisioner
        assert provisioner is not None
        assert provisioner.get_shutdown_wait_time() == 40
    assert written("old") == content
    listed = sshpyk("list", "--remote")
    assert listed.status == 0, listed.out
    assert sshpyk("edit", "--kernel-name", "old", "--launch-timeout", "50").status == 0
    content["metadata"]["kernel_provisioner"]["config"]["launch_timeout"] = 50  # type: ignore[index]
    assert written("old") == content
    assert sshpyk("delete", "old").status == 0


@pytest.mark.sshd
def test_the_command_lines_of_its_readme(rich: RichHost, sshpyk: Call) -> None:
    root = str(rich.ml.parent.parent)
    quick_start = [
        *("add", "--ssh-host-alias", "rich", "--kernel-name", "ssh_remote_python3"),
        *("--display-name", "Remote Python 3.12", "--remote-python", str(rich.ml)),
        *("--remote-kernel-name", "python3", "--language", "python"),
        *("--ssh-config", rich.config),
    ]
    assert sshpyk(*quick_start).status == 0
    homes = ("--remote-pythonhome", sys.base_prefix, "--remote-kernel-pythonhome", root)
    assert sshpyk(*quick_start, *homes, "--replace").status == 0
    assert config_of("ssh_remote_python3")["remote_pythonhome"] == sys.base_prefix
    for words in (
        ("--help",),
        ("list", "--help"),
        ("list",),
        ("list", "--no-check"),
        ("list", "-vvv"),
        ("list", "-r", "-n"),
        ("list", "-l"),
        ("add", "--help"),
        ("edit", "--help"),
        ("delete", "--help"),
        ("edit", "--kernel-name", "ssh_remote_python3", "--remote-kernel-name", "other"),
        ("delete", "ssh_remote_python3"),
    ):
        result = sshpyk(*words)
        assert result.status == 0, (words, result)
