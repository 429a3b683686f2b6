"""`sshpyk add`: from a host's name to kernels in Jupyter's launcher.

There are two forms. The explicit one names everything, as that of sshpyk 1.25 did. The other looks
at the host and has a person choose, or the command line: by name, or all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from ..jupyter import kernelspec
from ..server.address import is_url
from . import options
from .candidates import Candidate, choose, unique
from .edit import check
from .terminal import Terminal

if TYPE_CHECKING:
    from .look import Adding, Look

DESCRIPTION = """\
Look at a host and add its kernels to Jupyter. HOST is anything that ssh accepts, or docker:NAME,
podman:NAME, k8s:NAMESPACE/POD[/CONTAINER], k8s:CONTEXT/NAMESPACE/POD/[CONTAINER]; with --via there
is none. On a terminal you choose among what there is; elsewhere name KERNELs (a kernelspec, an
environment, or the path of its Python) or say --all. With --remote-kernel-name and --remote-python
it is the one that they name. HOST may also be the URL of a Jupyter Server, with its token in it or
not, and KERNEL a kernelspec, a session, or the id of a kernel that runs there.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument("host", nargs="?", metavar="HOST", help="what one gives to ssh")
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="what to add of what it has")
    parser.add_argument("--all", action="store_true", help="add every kernel that is ready there")
    parser.add_argument(
        "--install-ipykernel",
        action="store_true",
        help="install ipykernel into the chosen environments that lack it, after asking",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="answer those questions with yes")
    parser.add_argument(
        "--kernel-name", metavar="NAME", help="the kernel's name on this machine, for programs"
    )
    parser.add_argument(
        "--display-name", type=options.line, metavar="TEXT", help="its name in Jupyter"
    )
    parser.add_argument("--language", type=options.line, metavar="TEXT", help="its language")
    parser.add_argument(
        "--replace", action="store_true", help="replace the kernel that has the name already"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the kernel.json, and write nothing"
    )
    parser.add_argument(
        "--no-check", action="store_true", help="write it without contacting the host"
    )
    options.add_all(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    if arguments.host is not None and is_url(arguments.host):
        from . import servers

        return servers.add(arguments, terminal)
    config = settings_of(arguments)
    if "slurm" in config and not arguments.no_check:
        from . import cluster

        cluster.try_options(terminal, config)
    if config.get("server") and not arguments.no_check:
        from . import servers

        return servers.add_on_host(arguments, terminal, config)
    adding = choose_kernels(arguments, terminal, config)
    for name, content, logos in adding:
        if arguments.dry_run:
            terminal.raw(kernelspec.to_text(content))
            continue
        spec = kernelspec.write(name, content, logos)
        terminal.say(f"{name}: added {content['display_name']!r} in {spec.directory}")
    if adding and not arguments.dry_run:
        terminal.note(f"Choose it in Jupyter, or try it: jupyter console --kernel {adding[0][0]}")
    return 0


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gives, with the place that HOST names, checked.

    Raises `SettingsError`. To be called once: it may take HOST for a kernel.
    """
    config = options.given(arguments)
    _take_place(arguments, config)
    check(config)
    return config


def choose_kernels(
    arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]
) -> list[Adding]:
    """What is to be added by those arguments and settings: of each its name, kernel.json and logos.

    Raises `SshpykError`.
    """
    if arguments.kernel_name is not None:
        _require_free(kernelspec.check_name(arguments.kernel_name), arguments)
    if arguments.no_check:
        return [_unchecked(arguments, config)]
    if "remote_kernel_name" in config and "remote_python" in config:
        return [_explicit(arguments, terminal, config)]
    return _from_inspection(arguments, terminal, config)


def _take_place(arguments: argparse.Namespace, config: dict[str, Any]) -> None:
    """Put the place that HOST names into `config`. Raises `SettingsError`."""
    from ..transport.entrance import expand

    host = arguments.host
    if host is None:
        return
    command = expand(host)
    if command is not None:
        if config.setdefault("via", command) != command:
            raise errors.SettingsError(text="HOST and --via name two places.")
    elif "via" in config:
        arguments.kernels.insert(0, host)  # the command leads there, so this is a kernel
    elif config.setdefault("ssh_host_alias", host) != host:
        raise errors.SettingsError(text="HOST and --ssh-host-alias name two hosts.")


def _unchecked(arguments: argparse.Namespace, config: dict[str, Any]) -> Adding:
    from .look import adding, destination_of, display_for, kind_of, name_for

    if "remote_kernel_name" not in config:
        raise errors.SettingsError(
            text="With --no-check the host is not asked what it has: give --remote-kernel-name."
        )
    remote = config["remote_kernel_name"]
    host = destination_of(config).host
    name = arguments.kernel_name or name_for(kind_of(config), host, remote)
    display = arguments.display_name or display_for(remote, "", host)
    return _free(adding(name, display, arguments.language or "", config), arguments)


def _explicit(arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]) -> Adding:
    from . import look, wait_for
    from .remote import inspect, inspect_request

    remote = config["remote_kernel_name"]
    host = look.destination_of(config).host

    async def ask_host() -> dict[str, Any]:
        return await inspect(
            look.transport_of(config),
            config["remote_python"],
            inspect_request([remote]),
            connect=look.patience_of(config),
            timeout=look.INSPECT_TIMEOUT,
            pythonhome=config.get("remote_pythonhome"),
        )

    with terminal.busy(f"Looking at {host} …"):
        inspection = wait_for(ask_host())
    spec = inspection["found"][remote]
    if "error" in spec:
        raise errors.from_agent(host, spec)
    name = arguments.kernel_name or look.name_for(look.kind_of(config), host, remote)
    display = arguments.display_name or look.display_for(spec["display_name"], "", host)
    language = arguments.language or look.language_of(spec["language"])
    return _free(look.adding(name, display, language, config, spec, inspection), arguments)


def _free(adding: Adding, arguments: argparse.Namespace) -> Adding:
    """It, if its name may be used. Raises `KernelExists`."""
    _require_free(adding[0], arguments)
    return adding


def _require_free(name: str, arguments: argparse.Namespace) -> None:
    existing = kernelspec.all_specs().get(name)
    if existing is not None and not (arguments.replace or arguments.dry_run):
        raise errors.KernelExists(name=name, path=existing.directory)


# -- looking at the host ---------------------------------------------------------------------------


def _from_inspection(
    arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]
) -> list[Adding]:
    from . import wait_for
    from .look import destination_of, look

    with terminal.busy(f"Looking at {destination_of(config).host} …"):
        found: Look = wait_for(look(config, arguments.kernels))
    chosen = _chosen(arguments, terminal, found)
    for candidate in chosen:
        if candidate.trouble:
            raise errors.NotUsable(host=found.host, path=candidate.path, reason=candidate.trouble)
    for candidate in [candidate for candidate in chosen if not candidate.spec]:
        if not _install(arguments, terminal, found, candidate):
            chosen.remove(candidate)
    adding: list[Adding] = []
    taken = list(kernelspec.all_specs()) if arguments.all and not arguments.replace else []
    for candidate in chosen:
        name = arguments.kernel_name or found.name_of(candidate)
        if name in taken:
            terminal.note(f"{name}: is there already (--replace makes it anew)")
            continue
        name = unique(name, [other[0] for other in adding])
        default = found.display_name_of(candidate)
        display = arguments.display_name or default
        if arguments.display_name is None and terminal.is_interactive and not arguments.all:
            display = terminal.ask(f"Name in Jupyter [{default}]:") or default
        made = found.adding(candidate, name, display, arguments.language or "")
        adding.append(_free(made, arguments))
    return adding


def _chosen(arguments: argparse.Namespace, terminal: Terminal, found: Look) -> list[Candidate]:
    """What the command line or a person wants of it. Raises `SettingsError`."""
    config, offered, host = found.config, found.offered, found.host
    wanted = list(arguments.kernels)
    if "remote_kernel_name" in config:
        wanted.append(config["remote_kernel_name"])
    elif "remote_python" in config:
        wanted.append(config["remote_python"])
    if arguments.all:
        chosen = [candidate for candidate in offered if candidate.is_ready]
        if not chosen:
            _show(terminal, host, offered)
            raise errors.NothingReady(host=host)
    elif wanted:
        chosen = []
        for name in wanted:
            matches = [candidate for candidate in offered if candidate.is_called(name)]
            ready = [candidate for candidate in matches if candidate.is_ready]
            if len(ready) != 1 and len(matches) != 1:
                _show(terminal, host, matches or offered)
                raise errors.Ambiguous(name=name, host=host, count=len(matches))
            chosen += [c for c in (ready or matches)[:1] if c not in chosen]
    elif terminal.is_interactive:
        _show(terminal, host, offered)
        answer = terminal.ask("Which to add (numbers, or all; Enter for none)?")
        chosen = [offered[index] for index in choose(answer, len(offered))] if answer else []
        if answer.lower() == "all":
            chosen = [candidate for candidate in chosen if candidate.is_ready]
    else:
        ready = [candidate for candidate in offered if candidate.is_ready]
        if len(ready) != 1:
            _show(terminal, host, offered)
            raise errors.SettingsError(
                text=f"{host} offers {len(ready)} kernels: name what to add "
                f"(sshpyk add {found.destination.for_connect()} KERNEL), or say --all."
            )
        chosen = ready
    if len(chosen) > 1 and (arguments.kernel_name or arguments.display_name):
        raise errors.SettingsError(
            text=f"{len(chosen)} kernels can't share one --kernel-name or --display-name."
        )
    return chosen


def _show(terminal: Terminal, host: str, offered: Sequence[Candidate]) -> None:
    terminal.note(f"On {host}:")
    heads = ("", "kernel", "environment", "language", "version", "ipykernel", "path")
    styles = ["" if candidate.is_ready else "dim" for candidate in offered]
    terminal.table(heads, _rows(offered), styles=styles, beside=True)


def _rows(offered: Sequence[Candidate]) -> Iterator[tuple[str, ...]]:
    for number, candidate in enumerate(offered, 1):
        is_python = candidate.language.lower() == "python"
        yield (
            str(number),
            candidate.display_name,
            candidate.environment,
            candidate.language,
            candidate.version,
            candidate.trouble
            or candidate.ipykernel
            or ("missing" if is_python and candidate.version else ""),
            candidate.path,
        )


# -- ipykernel -------------------------------------------------------------------------------------


def _install(
    arguments: argparse.Namespace, terminal: Terminal, found: Look, candidate: Candidate
) -> bool:
    """Install ipykernel there, if that is wanted. Raises `NoIpykernel`, `InstallFailed`."""
    from . import wait_for

    host, path = found.host, candidate.path
    if not terminal.is_interactive and not (arguments.install_ipykernel and arguments.yes):
        command = found.destination.for_people()
        raise errors.NoIpykernel(host=host, python=candidate.python, command=command)
    question = f"{path} on {host} has no ipykernel. Install it there now?"
    if not arguments.yes and not terminal.confirm(question):
        return False
    with terminal.busy(f"Installing ipykernel into {path} on {host} …"):
        wait_for(found.install(candidate))
    terminal.note(f"{path}: ipykernel {candidate.ipykernel} is installed")
    return True
