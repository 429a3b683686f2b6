"""`sshpyk port`: a local port that leads to one of a kernel's host, and lives through outages."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from .. import errors
from ..remotekernel import State
from ..transport.entrance import expand
from . import described, kernels
from .options import line
from .place import ANSWER, CONNECT
from .terminal import Terminal

if TYPE_CHECKING:
    from ..link.link import Link
    from ..link.ports import LocalPort
    from ..wire.ports import Target

DESCRIPTION = """\
Open a port of this machine that leads to a port of the host of a kernel, or of any host: a Dask
dashboard, TensorBoard, a web application. It goes through the connection that there is, and lives
through outages. Only ports of your own on the host's loopback are reached, unless --any-user says
otherwise. It stays open until Ctrl+C, or --close from elsewhere.
"""

_STATES = {State.AWAY: "out of reach; connections wait", State.CONNECTED: "there again"}

#: Seconds in which a kernel that has ended may be started again by who else has it.
RESTART_WITHIN = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "place",
        nargs="?",
        metavar="KERNEL|HOST",
        help="a kernel as `sshpyk ps` shows it, or a host",
    )
    parser.add_argument(
        "port", nargs="?", type=line, metavar="PORT|PATH", help="the port there, or a unix socket"
    )
    parser.add_argument(
        "--local",
        type=local,
        metavar="PORT|PATH",
        help="the port or unix socket here (default: the same port, or another if that is taken)",
    )
    parser.add_argument(
        "--any-user", action="store_true", help="reach it though it is not known to be yours"
    )
    kernels.add_place_options(parser)
    parser.add_argument(
        "--list", action="store_true", help="show all that are open, by any process"
    )
    parser.add_argument(
        "--close", type=local, metavar="PORT|PATH", help="close the one that is open here"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")


def local(text: str) -> int | str:
    """An argument that is a port of this machine, 0 for any, or the path of a unix socket."""
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    if "/" in text:
        return os.path.abspath(os.path.expanduser(line(text)))
    raise argparse.ArgumentTypeError(f"{text!r} is no port, and no path (./NAME)")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    if arguments.list or arguments.close is not None:
        return _list_or_close(arguments, terminal)
    if arguments.place is None or arguments.port is None:
        raise errors.SettingsError(
            text="Which port, and of which kernel or host?",
            advice="Name both; --list shows what is open.",
            command="sshpyk port KERNEL 8787",
        )
    target = _target(arguments)
    from . import wait_for

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)  # nothing may stay on the host
    try:
        return int(wait_for(_keep_open(arguments, target, terminal)))
    except KeyboardInterrupt:
        return 0  # which is how it is closed


def _list_or_close(arguments: argparse.Namespace, terminal: Terminal) -> int:
    from ..link import portlist
    from . import wait_for

    found: list[dict[str, Any]] = wait_for(portlist.ask_all(arguments.close))
    if arguments.json:
        terminal.raw(described.write(found, 1))
    elif arguments.close is not None:
        for port in found:
            terminal.say(f"{_shown(port['local'])}: closed")
    elif found:
        heads = ("LOCAL", "LEADS TO", "HOST", "KERNEL", "CONNECTIONS", "PROCESS", "URL")
        terminal.table(heads, map(_cells, found))
    else:
        terminal.note("No ports are open.", "dim")
    if arguments.close is not None and not found:
        raise errors.SettingsError(
            text=f"No port of sshpyk's is open at {_shown(arguments.close)}.",
            advice="See which are:",
            command="sshpyk port --list",
        )
    return 0


def _cells(port: dict[str, Any]) -> tuple[str, ...]:
    where = (_shown(port["local"]), port["target"], port["host"], port["kernel"][:8])
    return (*where, str(port["connections"]), str(port["pid"]), port["url"])


def _shown(address: int | str) -> str:
    from ..link.ports import shown

    return shown(address)


def _target(arguments: argparse.Namespace) -> Target:
    from ..wire.ports import Target

    try:
        found = Target.parse(arguments.port)
    except ValueError as error:
        raise errors.SettingsError(
            text=f"{error}.", advice="Give a number, or a path that begins with a slash."
        ) from None
    found.is_anyones = arguments.any_user
    return found


def is_host(name: str, ssh_config: str | None) -> bool:
    """Whether a person means a host by `name`: one that is known, or that can be nothing else."""
    from ..ssh.aliases import hosts

    known = [place.host for place in kernels.known_places()]
    return (
        name in known
        or any(mark in name for mark in "@:.")
        or expand(name) is not None
        or name in hosts(ssh_config)
    )


async def _keep_open(arguments: argparse.Namespace, target: Target, terminal: Terminal) -> int:
    """Open the port, say so, and stay until it is closed or the kernel has ended."""
    link = await _link(arguments)
    try:
        port = link.open_port(target, arguments.local)
        _say(arguments, port, terminal)
        return await stay_open(link, port, terminal)
    finally:
        await (link.end() if link.ends_with_us else link.leave())


async def _link(arguments: argparse.Namespace) -> Link:
    from ..link import program
    from ..link.address import AgentAddress
    from ..link.link import Link
    from ..link.log import KernelLog
    from . import remote

    name = arguments.place
    log = logging.getLogger("sshpyk")
    log.addHandler(logging.NullHandler())  # what matters is said; the rest is for -v
    timeout = CONNECT + ANSWER
    is_file = os.path.isfile(os.path.expanduser(name))
    if not is_file and not arguments.hosts and is_host(name, arguments.ssh_config):
        place = kernels.places([name], arguments.ssh_config)[0]
        transport = remote.transport_to(place.destination)
        own = KernelLog(log, "ports", place.host)
        return await program.start(
            transport, place.python, "ports", program.SLEEP, own, timeout=timeout
        )
    survey, kernel = await kernels.locate(name, arguments.hosts, arguments.ssh_config)
    place = survey.place
    answer = await place.ask({"do": "attach", "id": kernel["id"]})
    agent = AgentAddress.of_record(answer["record"], place.python)
    transport = remote.transport_to(place.destination)
    link = Link(transport, agent, KernelLog(log, kernel["id"], place.host))
    await link.attach({}, timeout=timeout)
    return link


def _say(arguments: argparse.Namespace, port: LocalPort, terminal: Terminal) -> None:
    there = port.target.address
    if arguments.json:
        terminal.raw(described.write(port.to_json()))
    else:
        where = f"{there} of {port.ports.host}"
        terminal.say(f"{_shown(port.local)} leads to {where}. Ctrl+C closes it.")
    if arguments.local is None and isinstance(there, int) and there != port.local:
        terminal.note(f"Port {there} is taken on this machine.", "dim")
    sys.stdout.flush()


async def stay_open(link: Link, port: LocalPort, terminal: Terminal) -> int:
    """Tell of what happens to a port until it is closed; the exit status."""
    changed = asyncio.Event()
    forget = link.subscribe(lambda status: changed.set())
    before, trouble = link.status, port.trouble
    try:
        while port in port.ports.open_ports:
            status = link.status
            if status.state is not before.state and State.AWAY in (status.state, before.state):
                terminal.note(f"{status.host} is {_STATES.get(status.state, status.state)}.", "dim")
            if port.trouble is not None and port.trouble is not trouble:
                terminal.failure(port.trouble)
            before, trouble = status, port.trouble
            changed.clear()
            waiting = asyncio.ensure_future(changed.wait())
            patience = RESTART_WITHIN if link.exited is not None else None
            await asyncio.wait([waiting], timeout=patience)
            waiting.cancel()
            if link.exited is not None and (link.is_gone or not changed.is_set()):
                terminal.error(f"It has ended ({errors.describe_exit(link.exited)}).")
                return 1
        terminal.note(f"{_shown(port.local)} is closed.", "dim")
        return 0
    finally:
        forget()
