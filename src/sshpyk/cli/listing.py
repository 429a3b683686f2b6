"""`sshpyk list`: the kernels of this machine, and whether those on hosts could start."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..jupyter import kernelspec
from ..jupyter.kernelspec import LocalSpec
from ..jupyter.places import server_of
from ..schedulers.base import Allocation
from ..transport.entrance import Entrance
from . import described, options
from .terminal import BAD, INFO, UNKNOWN, WARNING, Terminal

if TYPE_CHECKING:
    from .checks import Check

#: Seconds that the checks of one host may take, so that a dead host delays no other.
TIMEOUT = 15.0

#: Settings that the checks of the host show.
SHOWN: tuple[str, ...] = (
    "ssh",
    "ssh_config",
    "ssh_host_alias",
    "remote_python",
    "remote_kernel_name",
)
SHOWN += ("server_url", "server_kernel_id")
SHOWN += ("via", "inside", "slurm", "allocation")

LEGEND = "(v) right  (x) wrong  (!) look at it  (i) for information  (?) not checked"

#: What a host is asked with: its destination, the Python there, and its PYTHONHOME.
Target = tuple[Any, str, str | None]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-r", "--remote", action="store_true", help="only kernels on hosts")
    parser.add_argument("-l", "--local", action="store_true", help="only other kernels")
    parser.add_argument(
        "-n", "--no-check", action="store_true", help="contact no host; ssh's configuration is read"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument(
        "--timeout",
        type=options.number,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long one host may take (default: %(default)g)",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    is_all = arguments.remote == arguments.local
    specs = [
        spec
        for spec in kernelspec.all_specs().values()
        if is_all or spec.is_ours == arguments.remote
    ]
    checks = _check(arguments, terminal, [spec for spec in specs if spec.is_ours])
    if arguments.json:
        listed = [_to_json(spec, checks.get(spec.name, [])) for spec in specs]
        terminal.raw(described.write(listed, 1))
    else:
        for spec in specs:
            _show(terminal, spec, checks.get(spec.name, []))
        terminal.note(LEGEND if checks else "No kernels on hosts yet: sshpyk add HOST", "dim")
    return int(any(check.mark == BAD for found in checks.values() for check in found))


def _check(
    arguments: argparse.Namespace, terminal: Terminal, specs: list[LocalSpec]
) -> dict[str, list[Check]]:
    if not specs:
        return {}
    from . import servers, wait_for

    contact = not arguments.no_check
    on_servers = [spec for spec in specs if server_of(spec.config) is not None]
    specs = [spec for spec in specs if spec not in on_servers]
    found: dict[str, list[Check]] = {}
    if on_servers:
        with terminal.busy("Checking servers …"):
            checking = servers.check_all(on_servers, contact=contact, limit=arguments.timeout)
            found = wait_for(checking)
        for spec in on_servers:
            found[spec.name] += _settings(spec)
    if not specs:
        return found
    hosts = {_target_of(spec)[0].host for spec in specs}
    count = f"{len(hosts)} host{'s' if len(hosts) > 1 else ''}"
    with terminal.busy(f"Checking {count} …") as update:
        result: dict[str, list[Check]] = wait_for(
            check_all(specs, contact=contact, limit=arguments.timeout, say=update)
        )
    return {**found, **result}


async def check_all(
    specs: list[LocalSpec], *, contact: bool, limit: float, say: Callable[[str], object]
) -> dict[str, list[Check]]:
    """What there is to say of each kernelspec; hosts are asked side by side, each only once.

    `limit` in seconds is what one of them may take; `say` is told how far it is.
    """
    import asyncio

    from . import checks, remote
    from .checks import Check

    targets: dict[Target, list[str]] = {}
    for spec in specs:
        names = targets.setdefault(_target_of(spec), [])
        name = spec.config.get("remote_kernel_name")
        if isinstance(name, str) and name and name not in names:
            names.append(name)
    destinations = {target[0] for target in targets}
    done = 0

    async def local(destination: Any) -> list[Check]:
        if isinstance(destination, Allocation):
            outer = [] if destination.outer is None else await local(destination.outer)
            return [*outer, checks.allocation(destination)]
        if isinstance(destination, Entrance):
            outer = [] if destination.outer is None else await local(destination.outer)
            return [*outer, checks.command(destination)]
        if destination.is_by_paramiko:
            from .without_ssh import checks as without_ssh

            return await asyncio.to_thread(without_ssh, destination)
        return [await checks.ssh_program(destination), *await checks.ssh_config(destination)]

    async def way_to(destination: Any) -> Check:
        """How kernels there are reached, after what the host has been asked."""
        try:
            text = await remote.transport_to(destination).way()
        except (errors.SshpykError, OSError, TimeoutError):
            text = ""
        text = text or "not known before its first kernel"
        return Check(INFO, "Reached By", text)

    async def inspected(target: Target, names: list[str]) -> Any:
        nonlocal done
        destination, python, pythonhome = target
        try:
            return await within(
                limit,
                remote.inspect(
                    remote.transport_to(destination),
                    python,
                    remote.inspect_request(names),
                    connect=limit,
                    timeout=limit,
                    pythonhome=pythonhome,
                ),
            )
        except errors.SshpykError as error:
            return error
        except TimeoutError:
            command = destination.for_people()
            return errors.Unreachable(host=destination.host, command=command)
        finally:
            done += 1
            say(f"Checked {done} of {len(targets)} …")

    local_found = dict(
        zip(destinations, await asyncio.gather(*map(local, destinations)), strict=True)
    )
    fine = {d for d, found in local_found.items() if all(c.mark != BAD for c in found)}
    asked = {target: names for target, names in targets.items() if contact and target[0] in fine}
    answers = dict(
        zip(asked, await asyncio.gather(*(inspected(*item) for item in asked.items())), strict=True)
    )
    ways = dict(zip(fine, await asyncio.gather(*map(way_to, fine)), strict=True))
    found: dict[str, list[Check]] = {}
    for spec in specs:
        target = _target_of(spec)
        found[spec.name] = [*local_found[target[0]]]
        if target[0] in ways:
            found[spec.name].append(ways[target[0]])
        if target in answers:
            found[spec.name] += checks.on_host(spec, answers[target])
        else:
            found[spec.name] += [
                Check(UNKNOWN, checks.connection_of(spec.config), "not checked"),
                Check(UNKNOWN, "Remote Launcher Python", target[1]),
                Check(UNKNOWN, "Remote Kernel Name", str(spec.config.get("remote_kernel_name"))),
            ]
        found[spec.name] += _settings(spec)
    return found


def _target_of(spec: LocalSpec) -> Target:
    from ..jupyter.places import destination_of

    python = spec.config.get("remote_python") or "python3"
    return destination_of(spec.config), str(python), spec.config.get("remote_pythonhome") or None


def _settings(spec: LocalSpec) -> list[Check]:
    """The other settings, and what is wrong with any."""
    from .checks import Check

    found = []
    for name, value in spec.config.items():
        if name not in SHOWN and value is not None:
            title = name.replace("_", " ").title()
            if isinstance(value, dict):
                value = list(value)  # the values of variables may be nobody else's business
            text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
            found.append(Check(INFO, title, text))
    found += [Check(WARNING, "Setting", text) for text in options.check(spec.config)]
    return found


def _show(terminal: Terminal, spec: LocalSpec, checks: list[Check]) -> None:
    terminal.say(spec.name, "bold")
    if spec.trouble:
        terminal.marked(BAD, f"kernel.json {spec.trouble}", indent=2)
        terminal.say()
        return
    for label, text in _facts(spec).items():
        terminal.marked("", text, indent=2, label=label)
    for check in checks:
        terminal.marked(check.mark, check.text, indent=2, label=check.what)
    terminal.say()


def _facts(spec: LocalSpec) -> dict[str, str]:
    content = spec.content
    argv = content.get("argv")
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    return {
        "Display Name": str(content.get("display_name", spec.name)),
        "Kernel Spec": spec.directory,
        "Command": " ".join(words),
        "Language": str(content.get("language", "")),
        "Interrupt Mode": str(content.get("interrupt_mode", "signal")),
    }


def _to_json(spec: LocalSpec, checks: list[Check]) -> dict[str, Any]:
    content = spec.content
    return {
        "name": spec.name,
        "directory": spec.directory,
        "is_remote": spec.is_ours,
        "display_name": content.get("display_name", spec.name),
        "language": content.get("language", ""),
        "argv": content.get("argv", []),
        "interrupt_mode": content.get("interrupt_mode", "signal"),
        "settings": spec.config if spec.is_ours else {},
        "trouble": spec.trouble,
        "checks": [check.to_json() for check in checks],
    }
