"""`sshpyk stop`: end kernels that run on hosts."""

from __future__ import annotations

import argparse
import asyncio

from .. import errors
from ..jupyter import persistence
from . import kernels
from .kernels import Kernel, Survey
from .place import Place
from .terminal import Terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "names", nargs="*", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows them, or a file"
    )
    kernels.add_place_options(parser)
    parser.add_argument("--all", action="store_true", help="all that are there")
    parser.add_argument(
        "--lost",
        action="store_true",
        help="those whose clients have vanished, or that have exited",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    if bool(arguments.names) == (arguments.all or arguments.lost):
        raise errors.SettingsError(text="Which kernels? Name them, or say --all or --lost.")
    stopped = wait_for(_stop(arguments))
    failed = 0
    for kernel, host, trouble in stopped:
        name = kernels.label(kernel, host)
        if trouble is None:
            terminal.say(f"{name}: stopped")
        else:
            failed = 1
            terminal.failure(trouble, of=name)
    if not stopped:
        terminal.say("There is nothing to stop.")
    return failed


async def stop(place: Place, id: str) -> None:
    """End a kernel; on the I/O thread. Raises `SshpykError`."""
    answer = await place.ask({"do": "stop", "id": id})
    if not answer["stopped"]:
        raise errors.SshpykError(text="It has not ended.")
    await asyncio.to_thread(persistence.forget, id)


async def _stop(
    arguments: argparse.Namespace,
) -> list[tuple[Kernel, str, errors.SshpykError | None]]:
    async def one(survey: Survey, kernel: Kernel) -> errors.SshpykError | None:
        try:
            await stop(survey.place, kernel["id"])
        except errors.SshpykError as error:
            return error
        return None

    chosen: list[tuple[Survey, Kernel]] = []
    if arguments.names:
        for name in arguments.names:
            chosen.append(await kernels.locate(name, arguments.hosts, arguments.ssh_config))
    else:
        where = kernels.places(arguments.hosts, arguments.ssh_config)
        for survey in await kernels.survey_all(where):
            if survey.trouble is not None:
                raise survey.trouble
            for kernel in survey.kernels:
                if arguments.all or kernels.state_of(kernel) in ("lost", "exited"):
                    chosen.append((survey, kernel))
    results = await asyncio.gather(*(one(survey, kernel) for survey, kernel in chosen))
    return [
        (kernel, survey.place.host, result)
        for (survey, kernel), result in zip(chosen, results, strict=True)
    ]
