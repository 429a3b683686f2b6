"""`sshpyk interrupt`: interrupt a kernel that runs on a host."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile

from . import kernels
from .kernels import Kernel, Survey
from .place import ANSWER
from .terminal import Terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows it, or a file")
    kernels.add_place_options(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    survey, kernel = wait_for(kernels.locate(arguments.name, arguments.hosts, arguments.ssh_config))
    answer = wait_for(survey.place.ask({"do": "interrupt", "id": kernel["id"]}))
    if not answer["done"]:
        asyncio.run(_by_message(survey, kernel))
    terminal.say(f"{kernels.label(kernel, survey.place.host)}: interrupted")
    return 0


async def _by_message(survey: Survey, kernel: Kernel) -> None:
    """This kernel takes an interrupt as a message, which is for a client to send."""
    from ..kernelapp.manager import make_manager

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "sshpyk-kernel.json")
        await kernels.save(survey.place, kernel["id"], path)
        settings = {"existing": path, "persistent": True}
        file = os.path.join(directory, "connection.json")
        manager = make_manager("", settings, connection_file=file)
        await manager.start_kernel()
        try:
            await manager.interrupt_kernel()
            # A kernel that answers a later request has had the interrupt, and may be left.
            client = manager.client()
            client.start_channels()
            await client._async_wait_for_ready(timeout=ANSWER)
            client.stop_channels()
        finally:
            await manager.shutdown_kernel()
            manager.context.destroy(linger=100)
