"""What the provisioner answers to jupyter_client's questions."""

from __future__ import annotations

import asyncio
from typing import Any

from sshpyk.jupyter.provisioner import SSHKernelProvisioner


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
