"""Kernel Gateway, and by hand Enterprise Gateway: neither lists kernels, both take variables.

Enterprise Gateway 3.3 pins jupyter_server below 2 and jupyter_client below 7, so it can't be beside
them, and an environment of its own takes two minutes of CI. To run these with one:

    python3 -m venv E && E/bin/pip install jupyter_enterprise_gateway ipykernel
    SSHPYK_ENTERPRISE_GATEWAY=E/bin/jupyter-enterprisegateway python -m pytest tests/server
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from jupyter_client.manager import KernelManager

from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.server import trouble
from sshpyk.server.carried import CarriedKernel
from tests.cli.conftest import Call, config_of, sshpyk
from tests.faults.record import Watched
from tests.jupyter.server import ABSENT
from tests.lab.daemon import Daemon
from tests.lab.kernels import PATIENCE, run_code, started
from tests.lab.link import Link
from tests.server.servers import kernel_of, write_card

__all__ = ["sshpyk"]

ENTERPRISE = os.environ.get("SSHPYK_ENTERPRISE_GATEWAY", "")

#: The names of each's classes and variables begin so; the command.
GATEWAYS = {
    "KernelGateway": ("KG", [sys.executable, "-m", "kernel_gateway"]),
    "EnterpriseGateway": ("EG", [ENTERPRISE]),
}


@contextlib.contextmanager
def gateway(kind: str, root: Path, *, most: int = 1) -> Iterator[str]:
    """A gateway of that kind, with `most` kernels if it is a Kernel Gateway; its URL. Its token is
    "gateway's"."""
    prefix, command = GATEWAYS[kind]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": ABSENT,
        f"{prefix}_AUTH_TOKEN": "gateway's",
        "HOME": str(root),
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "JUPYTER_DATA_DIR": str(root / "data"),
        "IPYTHONDIR": str(root / "ipython"),
    }
    options = [f"--{kind}App.ip=127.0.0.1", f"--{kind}App.port={port}"]
    options += [f"--KernelGatewayApp.max_kernels={most}"] if kind == "KernelGateway" else []
    with Daemon(
        [*command, *options],
        cwd=root,
        env=environment,
        log=root / "gateway.log",
        is_up=lambda line: "is available at" in line,
    ):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(
    scope="module",
    params=[
        "KernelGateway",
        pytest.param(
            "EnterpriseGateway",
            marks=pytest.mark.skipif(
                not ENTERPRISE, reason="SSHPYK_ENTERPRISE_GATEWAY names no Enterprise Gateway"
            ),
        ),
    ],
)
def kind_and_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """A gateway's."""
    with gateway(request.param, tmp_path_factory.mktemp("gateway")) as url:
        yield request.param, url


def test_a_gateway(
    kind_and_url: tuple[str, str], sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, url = kind_and_url
    monkeypatch.setenv("SERVER_TOKEN", "gateway's")
    monkeypatch.setenv("KERNEL_LIKED", "yes")
    name = ("--kernel-name", "far", "--token-env", "SERVER_TOKEN")
    # It takes variables; without KERNEL_USERNAME one of the two starts nothing for root.
    env = ("--env", "KERNEL_USERNAME=somebody", "--send-env", "KERNEL_*", "--server-way=plain")
    done = sshpyk("add", url, "python3", *name, *env)
    assert done.status == 0, done.err
    assert config_of("far")["server_url"] == url
    with started("far") as (manager, client):
        code = "import os; print(os.environ['KERNEL_USERNAME'], os.environ['KERNEL_LIKED'])"
        assert run_code(client, code) == "somebody yes\n"
        run_code(client, "x = 6 * 7")
        # Nothing lists it, but who knows its id attaches to it.
        id = kernel_of(manager).kernel_id
        write_card("same", url, server_kernel_id=id)
        with started("same") as (_, other):
            assert run_code(other, "print(x)") == "42\n"
        told = sshpyk("ps", url)
        assert "lists no kernels: name one by its whole id" in told.err
        assert id[:8] in told.out, "a card has its id"
        assert sshpyk("interrupt", id, "--host", url).status == 0, "which is the same"
        (Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels/same/kernel.json").unlink()
        assert id[:8] not in sshpyk("ps", url).out
        assert sshpyk("interrupt", id, "--host", url).status == 0
        done = sshpyk("add", url, "--kernel-id", id, "--kernel-name", "again", *name[2:])
        assert done.status == 0, done.err
        assert config_of("again")["server_kernel_id"] == id
        if kind == "KernelGateway":
            # A quota is told in its own words, and is no matter of the token.
            with pytest.raises(trouble.ServerFailed, match=r"HTTP 403[^!]*\sResource Limit"):
                KernelManager(kernel_name="far").start_kernel()
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print('x' in globals())") == "False\n"
    write_card("gone", url, server_kernel_id=id)
    with pytest.raises(trouble.NoServerKernel), started("gone"):
        pass
    write_card("none", url, remote_kernel_name="no-such-kernel", env={"KERNEL_USERNAME": "me"})
    with pytest.raises(trouble.NoServerKernelspec) as failed, started("none"):
        pass
    assert "python3" in str(failed.value)


def test_a_kernel_gateways_kernel_is_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_TOKEN", "gateway's")
    with gateway("KernelGateway", tmp_path, most=2) as url, Link(urlsplit(url).port or 0) as link:
        write_card("far", f"http://127.0.0.1:{link.port}/", server_way=None)
        with started("far") as (manager, client), Watched(client) as watched:
            assert isinstance(manager.provisioner, SSHKernelProvisioner)
            assert isinstance(manager.provisioner.kernel, CarriedKernel)
            id = watched.start("import time\nfor n in range(50): print(n); time.sleep(0.03)")
            watched.wait(lambda: "9" in watched.lines)
            assert link.cut() > 0
            watched.finish(id)
            assert watched.lines == [*map(str, range(50))]
            watched.check()
