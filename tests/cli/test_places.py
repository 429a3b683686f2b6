"""The commands over a place that a command leads to: a container, here and on a host."""

from __future__ import annotations

import sys

import pytest
from jupyter_client.manager import KernelManager

from tests.cli.conftest import Call, config_of, names
from tests.lab.containers import Containers
from tests.lab.kernels import link_of, run_code, started, write_card
from tests.lab.sshd import Sshd
from tests.places.conftest import docker

__all__ = ["docker"]  # a fixture


def test_a_card_for_a_container(docker: Containers, sshpyk: Call) -> None:
    container = docker.make("box")
    added = sshpyk("add", "docker:box", sys.executable, "--remote-python", sys.executable)
    assert added.status == 0, added.err
    (name,) = names()
    assert name.startswith("docker_box")
    assert config_of(name)["via"] == "docker exec -i box"
    listed = sshpyk("list", "--remote", "--json")
    assert listed.status == 0, listed.out
    marks = {check["what"]: check["mark"] for check in listed.json[0]["checks"]}
    assert marks["Command"] == marks["Connection"] == marks["Remote Kernel Name"] == "v"
    connected = sshpyk("connect", "docker:box")
    assert connected.status == 0
    assert "nothing to log in to" in connected.out
    with started(name, kernel_id="kernel-in-a-box") as (_, client):
        assert run_code(client, "import socket; print(socket.gethostname())") == "box\n"
        shown = sshpyk("ps", "docker:box", "--json")
        assert [row["host"] for row in shown.json] == ["docker:box"]
    walked = sshpyk("doctor", name, "--no-launch")
    assert walked.status == 0, walked.out
    assert "of the command:" in walked.out
    assert "SSH" not in walked.out
    container.stop()
    walked = sshpyk("doctor", "docker:box")
    assert walked.status == 1
    assert "docker start box" in walked.out
    container.start()
    container.assert_clean()


def test_a_kernel_in_a_container_is_left_read_and_stopped(docker: Containers, sshpyk: Call) -> None:
    container = docker.make("box")
    write_card("boxed", via="docker exec -i box", persistent=True)
    manager = KernelManager(kernel_name="boxed")
    manager.start_kernel()
    id = link_of(manager).agent.id
    manager.shutdown_kernel()
    manager.context.destroy(linger=100)
    logs = sshpyk("logs", id[:8])
    assert logs.status == 0, logs.err
    assert "= launched kernel" in logs.out
    assert sshpyk("interrupt", id[:8], "--host", "docker:box").status == 0
    stopped = sshpyk("stop", id[:8])
    assert stopped.status == 0, stopped.err
    assert f"{id[:8]} on docker:box: stopped" in stopped.out
    container.assert_clean()


@pytest.mark.sshd
def test_a_card_for_a_container_on_a_host(docker: Containers, sshd: Sshd, sshpyk: Call) -> None:
    container = docker.make("box")
    inside = f"{docker.bin}/docker exec -i box"
    added = sshpyk(
        *("add", sshd.host, sys.executable, "--ssh-config", str(sshd.ssh_config)),
        *("--inside", inside, "--remote-python", sys.executable, "--kernel-name", "nested"),
    )
    assert added.status == 0, added.err
    config = config_of("nested")
    assert (config["ssh_host_alias"], config["inside"]) == (sshd.host, inside)
    walked = sshpyk("doctor", "nested", "--no-launch")
    assert walked.status == 0, walked.out
    assert "Multiplexing" in walked.out
    assert "leads there" in walked.out
    listed = sshpyk("list", "--remote", "--json")
    assert listed.status == 0, listed.out
    shown = sshpyk("ps")
    assert shown.status == 0, shown.err
    container.assert_clean()


def test_what_contradicts_itself_is_refused(docker: Containers, sshpyk: Call) -> None:
    both = sshpyk("add", "--via", "env", "--inside", "env", "--no-check")
    assert both.status == 2
    assert "`via` is in place of a host" in both.err
    bad = sshpyk("add", "k8s:pod")
    assert bad.status == 2
    assert "k8s:NAMESPACE/POD" in bad.err
    missing = sshpyk("add", "--via", "no-such-program -i", "--no-check")
    assert missing.status == 2
    assert "no-such-program" in missing.err
    assert names() == []
    write_card("far", ssh_host_alias="host")
    assert sshpyk("edit", "far", "--via", "docker:box").status == 2
    assert sshpyk("edit", "far", "--via", "docker:box", "--unset", "ssh_host_alias").status == 0
    assert config_of("far")["via"] == "docker exec -i box"
    assert "ssh_host_alias" not in config_of("far")
