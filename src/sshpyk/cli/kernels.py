"""The kernels that run on hosts: where to look, how to find one by what a person calls it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import errors
from ..jupyter import kernelspec
from ..jupyter.places import destination_of
from ..schedulers.base import Allocation
from ..server.address import ServerAddress, is_url, split
from ..ssh.command import Destination
from ..transport.entrance import Entrance, expand
from . import onserver
from .place import Place

#: Characters of an id that name a kernel at least.
SHORTEST = 4

Kernel = dict[str, Any]


@dataclass
class Survey:
    """What a host says of its kernels; `trouble` is why it says nothing."""

    place: Place
    now: float = 0.0
    kernels: list[Kernel] = field(default_factory=list)
    ended: list[Kernel] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)  # what all there uses, where asked for
    gpus: list[dict[str, Any]] = field(default_factory=list)
    trouble: errors.SshpykError | None = None
    unlisted: bool = False  # a server's that lists no kernels


def add_place_options(
    parser: argparse.ArgumentParser,
    *,
    host_option: bool = True,
    host_help: str = "where the kernel is (default: the hosts of all kernelspecs)",
) -> None:
    """The options that say where to look."""
    if host_option:
        parser.add_argument(
            "--host",
            action="append",
            default=[],
            dest="hosts",
            metavar="HOST",
            help=host_help,
        )
    parser.add_argument("--ssh-config", metavar="PATH", help="path of the ssh configuration")


def known_places() -> list[Place]:
    """The places of all kernelspecs."""
    known: dict[Destination | Entrance | Allocation, Place] = {}
    for spec in kernelspec.all_specs().values():
        config = spec.config
        destination = destination_of(config)
        if spec.is_ours and destination.host:
            known.setdefault(
                destination, Place(destination, str(config.get("remote_python") or "python3"))
            )
    return list(known.values())


def left_on_servers() -> list[tuple[Place, str]]:
    """Kernels of Jupyter Servers that have an agent and were left, with their ids: nothing but the
    files in Jupyter's runtime directory tells of them."""
    from ..jupyter import persistence

    found = []
    for path in persistence.all_paths():
        with contextlib.suppress(errors.SettingsError):
            found.append(place_of_file(path))
    return [(place, id) for place, id in found if isinstance(place, onserver.Carried)]


def places(
    hosts: Sequence[str],
    ssh_config: str | None = None,
    *,
    servers: bool = False,
    left: bool = False,
) -> list[Place]:
    """Where to look: `hosts`, or all of the kernelspecs; also Jupyter `servers`, if they will do,
    or those on which something was `left`.

    Raises `SettingsError`.
    """
    known = known_places()
    if not hosts:
        if servers:
            known += onserver.of_kernelspecs()
        if left:
            known += dict.fromkeys(place for place, _ in left_on_servers())
        if not known:
            raise errors.SettingsError(
                text="There are no kernels on hosts yet.",
                advice="Name a host, or add one:",
                command="sshpyk add HOST",
            )
        return known
    found: list[Place] = []
    for host in hosts:
        if is_url(host):
            server = onserver.of_url(host)
            if not servers:
                raise server.no("This command is about hosts")
            found.append(server)
            continue
        of_host = [place for place in known if place.host == host]
        if ssh_config is not None or not of_host:
            python = of_host[0].python if of_host else "python3"
            command = expand(host)
            there = Destination(host, ssh_config=ssh_config) if command is None else None
            of_host = [Place(there or Entrance(command or ""), python)]
        found += of_host
    return found


def survey(place: Place, answer: dict[str, Any]) -> Survey:
    """What a host has answered to "kernels" or "watch"."""
    facts = answer["now"], answer["kernels"], answer["ended"]
    more = answer.get("machine") or {}, answer.get("gpus") or []
    return Survey(place, *facts, *more, unlisted=answer.get("unlisted") is True)


async def survey_all(where: Sequence[Place], *, use: bool = False) -> list[Survey]:
    """What runs at places, asked side by side; and what it uses, if that is to be measured."""

    async def one(place: Place) -> Survey:
        try:
            return survey(place, await place.ask({"do": "kernels", "use": use}))
        except errors.SshpykError as error:
            return Survey(place, trouble=error)

    return list(await asyncio.gather(*map(one, where)))


def state_of(kernel: Kernel) -> str:
    """One word: attached, detached, lost, exited, or unknown."""
    status = kernel.get("status")
    if kernel["kernel"].get("exited") is not None:
        return "exited"
    if status is None:
        return "unknown"
    if status["attached"]:
        return "attached"
    parted = status.get("parted")
    return "unknown" if parted is None else str(parted["state"])


def find(surveys: Sequence[Survey], name: str) -> tuple[Survey, Kernel]:
    """The kernel whose id, beginning of an id, or session is `name`. Raises `SshpykError`."""
    found = [
        (survey, kernel)
        for survey in surveys
        for kernel in survey.kernels
        if name and (kernel.get("session") == name or is_id(kernel["id"], name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(f"{kernel['id'][:8]} on {one.place.host}" for one, kernel in found)
        raise errors.SettingsError(
            text=f"{name!r} matches several: {ids}. Add --host, or more of the id."
        )
    for survey in surveys:
        for ended in survey.ended:
            if is_id(str(ended["id"]), name):
                raise errors.KernelGone(host=survey.place.host, why=why_ended(ended))
    for survey in surveys:
        if survey.trouble is not None:
            raise survey.trouble
    hosts = ", ".join(survey.place.host for survey in surveys)
    raise errors.NoKernel(
        id=repr(name),
        host=hosts,
        hosts=shlex.join(survey.place.argument for survey in surveys),
        why="nothing there has that id or name",
    )


def is_id(id: str, name: str) -> bool:
    """Whether `name` is the id or enough of its beginning."""
    return id == name or (len(name) >= SHORTEST and id.startswith(name))


def why_ended(ended: Kernel) -> str:
    """How and when a kernel ended, for people."""
    import time

    exited = ended.get("exited") or {}
    how = errors.describe_exit(exited) if exited else "nobody saw how"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ended["at"]))
    return f"{how}; {ended['why']}, at {when}"


def place_of_file(path: str) -> tuple[Place, str]:
    """The host and the kernel's id that a persistence file names. Raises `SettingsError`."""
    from ..jupyter import persistence

    saved = persistence.read(path)
    if isinstance(saved.destination, ServerAddress):
        there = saved.destination
        return onserver.Carried(there, saved.agent.python, there), saved.agent.id
    return Place(saved.destination_here(None, None), saved.agent.python), saved.agent.id


async def save(place: Place, id: str, path: str) -> None:
    """Write the persistence file of a kernel from what its host knows. Raises `SshpykError`."""
    from ..jupyter.persistence import Persistence
    from ..link.address import AgentAddress
    from ..link.thread import io_thread

    answer = await io_thread().run(place.ask({"do": "attach", "id": id}))
    agent = AgentAddress.of_record(answer["record"], place.python)
    Persistence(place.destination, agent, answer["keys"], id).write(path)


async def locate(name: str, hosts: Sequence[str], ssh_config: str | None) -> tuple[Survey, Kernel]:
    """The kernel that a person names: a persistence file's, an id's, or a session's.

    On the I/O thread. Raises `SshpykError`.
    """
    if os.path.isfile(os.path.expanduser(name)):
        place, name = place_of_file(os.path.expanduser(name))
        return find(await survey_all([place]), name)
    return find(await look_for(name, hosts, ssh_config), name)


async def look_for(name: str, hosts: Sequence[str], ssh_config: str | None) -> list[Survey]:
    """What runs at places; where a server lists none, the kernel whose whole id is `name`.

    Raises `SettingsError`.
    """
    if is_url(name):
        url, _ = split(name)
        raise errors.SettingsError(
            text=f"{url} is a Jupyter Server, and no kernel.",
            advice="Add a card of its kernels, or see which run there:",
            command=f"sshpyk add {url}\nsshpyk ps {url}",
        )
    where = places(hosts, ssh_config, servers=True)
    return await survey_all(
        [place.asking(name) if isinstance(place, onserver.OnServer) else place for place in where]
    )


def label(kernel: Kernel, host: str) -> str:
    """What a kernel is called in messages."""
    name = f" ({kernel['session']})" if kernel.get("session") else ""
    return f"{kernel['id'][:8]}{name} on {host}"
