"""`sshpyk logs`: what a kernel and its agent have written, and the output that nobody saw."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from .. import errors
from ..jupyter import kernelspec
from ..jupyter.settings import Settings
from . import kernels, missed
from .onserver import OnServer
from .place import ANSWER, CONNECT, Place
from .terminal import Terminal

if TYPE_CHECKING:
    from ..transport.jobs import Job
    from ..wire.requests import LogsRequest

KERNEL, AGENT, OUTPUTS = "kernel.log", "agent.log", "outputs.jsonl"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows it, or a file")
    kernels.add_place_options(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on while it writes more")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kernel", action="store_true", help="only the kernel's stdout and stderr")
    which.add_argument("--agent", action="store_true", help="only the agent's log")
    which.add_argument(
        "--outputs",
        action="store_true",
        help="the output that nobody was attached to see",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    wait_for(_run(arguments, terminal))
    return 0


async def _run(arguments: argparse.Namespace, terminal: Terminal) -> None:
    place, id = await find(arguments.name, arguments.hosts, arguments.ssh_config)
    files = [KERNEL, AGENT]
    if arguments.kernel:
        files = [KERNEL]
    elif arguments.agent:
        files = [AGENT]
    elif arguments.outputs:
        if not arguments.follow:
            for text in missed.texts((await outputs(place, id)).lines):
                terminal.raw(text)
            return
        files = [OUTPUTS]
    last = ""
    reader = missed.Reader()
    async for file, data in read(place, id, files, follow=arguments.follow):
        if file == OUTPUTS:
            reader.feed(data)
            for text in missed.texts(reader.pop()):
                terminal.raw(text)
        else:
            if file != last and len(files) > 1:
                terminal.raw(f"==> {'kernel' if file == KERNEL else 'agent'} <==\n")
            last = file
            terminal.raw(data.decode("utf-8", "replace"))
        sys.stdout.flush()


async def find(name: str, hosts: list[str], ssh_config: str | None) -> tuple[Place, str]:
    """The host and id of a kernel that runs, or has ended. Raises `SshpykError`."""
    import os

    if os.path.isfile(os.path.expanduser(name)):
        return kernels.place_of_file(os.path.expanduser(name))
    surveys = await kernels.look_for(name, hosts, ssh_config)
    try:
        survey, kernel = kernels.find(surveys, name)
    except errors.KernelGone:
        for survey in surveys:
            for ended in survey.ended:
                if kernels.is_id(str(ended["id"]), name):
                    return survey.place, str(ended["id"])
        raise
    if isinstance(survey.place, OnServer):
        for place, id in kernels.left_on_servers():
            if id == kernel["id"]:
                return place, id
        raise survey.place.no("The output of kernels is kept on hosts")
    return survey.place, str(kernel["id"])


async def outputs(place: Place, id: str) -> missed.Reader:
    """What a kernel's file of outputs has; on the I/O thread. Raises `SshpykError`."""
    limit = most_outputs()
    reader = missed.Reader()
    async for _, data in read(place, id, [OUTPUTS], follow=False):
        reader.feed(data)
        if reader.size > limit:
            raise errors.TooMuchOutput(host=place.host, id=id, size=limit // 1_000_000)
    return reader


def most_outputs() -> int:
    """Bytes of output that a kernel may have kept: `outputs_limit`, as our kernelspecs set it, and
    two messages beyond, by which each half of the file may exceed its share."""
    limits = [spec.config.get("outputs_limit") for spec in kernelspec.all_specs().values()]
    declared = Settings.class_traits()["outputs_limit"].default_value
    limit = max([declared, *(limit for limit in limits if isinstance(limit, int))])
    return int(limit) + 2 * missed.LONGEST_LINE


async def read(
    place: Place, id: str, files: list[str], *, follow: bool
) -> AsyncIterator[tuple[str, bytes]]:
    """The pieces of a kernel's files: name and bytes. On the I/O thread. Raises `SshpykError`."""
    from ..transport import jobs
    from . import remote

    transport = remote.transport_to(place.destination)
    await transport.ensure(timeout=CONNECT)
    request: LogsRequest = {"do": "logs", "id": id, "files": files, "follow": follow}
    patience = None if follow else ANSWER
    async with jobs.Job(transport, place.python, request) as job:
        while "end" not in (answer := await _next(job, place, patience)):
            name = str(answer["file"]).removeprefix(f"{id}.")
            yield name, str(answer["data"]).encode("latin-1", "replace")


async def _next(job: Job, place: Place, patience: float | None) -> dict[str, Any]:
    """The next answer, for which there are `patience` seconds. Raises `SshpykError`."""
    from ..aio import within

    try:
        return await (job.answer() if patience is None else within(patience, job.answer()))
    except TimeoutError:
        raise errors.Unreachable(
            host=place.host,
            command=place.destination.for_people(),
            details=f"it has sent nothing for {patience:g} s",
        ) from None
