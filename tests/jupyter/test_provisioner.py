"""What the provisioner answers to jupyter_client's questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec

from sshpyk.jupyter.provisioner import SSHKernelProvisioner
from sshpyk.server.address import ServerAddress


class Kernel:
    """A kernel that ends when somebody waits for that."""

    exited: dict[str, Any] | None = None

    async def exit_seen(self) -> None:
        self.exited = {"code": 7, "signum": None}


def test_a_question_after_a_shutdown_waits_for_the_end_and_others_do_not() -> None:
    provisioner = SSHKernelProvisioner(kernel_id="0123", ssh_host_alias="gpu")
    kernel: Any = Kernel()
    provisioner.kernel = kernel

    async def work() -> None:
        assert await provisioner.poll() is None
        assert kernel.exited is None, "nobody has asked it to end"
        await provisioner.shutdown_requested()
        assert await provisioner.poll() == 7

    asyncio.run(work())


#: The environment of somebody who names a server for kernelspecs that are not ours.
ENVIRONMENT = {
    "SSHPYK_SERVER_URL": "https://hub.example.org/user/me/",
    "SSHPYK_SERVER_WAY": "plain",
    "SSHPYK_REMOTE_KERNEL_NAME": "ir",
    "SSHPYK_TOKEN_ENV": "TOKEN",
    "SSHPYK_CA": "/ca.pem",
    "SSHPYK_CLIENT_CERT": "/cert.pem",
    "SSHPYK_CLIENT_KEY": "/key.pem",
}


def provisioner_of(patch: pytest.MonkeyPatch, **settings: Any) -> SSHKernelProvisioner:
    """A kernel's of a kernelspec with these settings, in that environment."""
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    return SSHKernelProvisioner(kernel_id="0123", **settings)


def test_the_environment_names_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    provisioner = provisioner_of(monkeypatch)
    assert provisioner.server_address == ServerAddress(
        "https://hub.example.org/user/me/", "/ca.pem", "/cert.pem", "/key.pem", "TOKEN"
    )
    assert (provisioner.server_way, provisioner.remote_kernel_name) == ("plain", "ir")


def test_a_token_is_for_the_server_that_is_named_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A card's server must not be shown another's, nor a card of a host become one of a server.
    of_server = provisioner_of(monkeypatch, server_url="https://other.example.org/")
    assert of_server.server_address == ServerAddress("https://other.example.org/")
    assert of_server.server_way == "auto"
    of_host = provisioner_of(monkeypatch, ssh_host_alias="gpu")
    assert of_host.server_address is None
    assert of_host.host_name == "gpu"


def test_a_card_of_a_host_is_led_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSHPYK_INSIDE", "podman exec -i box")
    monkeypatch.setenv("SSHPYK_VIA", "docker exec -i box")
    of_host = SSHKernelProvisioner(kernel_id="0123", ssh_host_alias="gpu")
    assert (of_host.via, of_host.inside) == ("", "")
    of_nowhere = SSHKernelProvisioner(kernel_id="0123")
    assert (of_nowhere.via, of_nowhere.inside) == ("docker exec -i box", "podman exec -i box")


def test_a_token_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    provisioner = provisioner_of(monkeypatch, send_env=["*"], kernel_spec=KernelSpec())
    env = {"TOKEN": "secret", "OTHER": "1"}

    async def work() -> None:
        assert (await provisioner.pre_launch(env=env))["env"] == {"OTHER": "1"}
        await provisioner.cleanup()

    asyncio.run(work())
