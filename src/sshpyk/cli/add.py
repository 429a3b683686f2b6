"""`sshpyk add`: from a host's name to kernels in Jupyter's launcher.

There are two forms. The explicit one names everything, as that of sshpyk 1.25 did. The other looks
at the host and has a person choose, or the command line: by name, or all.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from ..jupyter import kernelspec
from ..server.address import is_url
from . import options
from .candidates import Candidate, choose, logos_of, make, metadata_of, unique
from .edit import check
from .terminal import Terminal, clean

if TYPE_CHECKING:
    from ..ssh.command import Destination
    from ..transport.base import Transport
    from ..transport.entrance import Entrance
    from ..wire.requests import InstallRequest

DESCRIPTION = """\
Look at a host and add its kernels to Jupyter. HOST is anything that ssh accepts, or docker:NAME,
podman:NAME, k8s:NAMESPACE/POD[/CONTAINER], k8s:CONTEXT/NAMESPACE/POD/[CONTAINER]; with --via there
is none. On a terminal you choose among what there is; elsewhere name KERNELs (a kernelspec, an
environment, or the path of its Python) or say --all. With --remote-kernel-name and --remote-python
it is the one that they name. HOST may also be the URL of a Jupyter Server, with its token in it or
not, and KERNEL a kernelspec, a session, or the id of a kernel that runs there.
"""

#: Seconds for inspecting a host, and for installing ipykernel.
INSPECT_TIMEOUT = 60.0
INSTALL_TIMEOUT = 900.0

#: Characters of names that are made of what a host says.
LONGEST = 100

#: Seconds for connecting, where --launch-timeout does not say.
CONNECT_TIMEOUT = 30.0


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
    config = options.given(arguments)
    _take_place(arguments, config)
    check(config)
    if config.get("server") and not arguments.no_check:
        from . import servers

        return servers.add_on_host(arguments, terminal, config)
    if arguments.kernel_name is not None:
        _require_free(kernelspec.check_name(arguments.kernel_name), arguments)
    if arguments.no_check:
        adding = [_unchecked(arguments, config)]
    elif "remote_kernel_name" in config and "remote_python" in config:
        adding = [_explicit(arguments, terminal, config)]
    else:
        adding = _from_inspection(arguments, terminal, config)
    for name, content, logos in adding:
        if arguments.dry_run:
            terminal.raw(kernelspec.to_text(content))
            continue
        spec = kernelspec.write(name, content, logos)
        terminal.say(f"{name}: added {content['display_name']!r} in {spec.directory}")
    if adding and not arguments.dry_run:
        terminal.note(f"Choose it in Jupyter, or try it: jupyter console --kernel {adding[0][0]}")
    return 0


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


#: What gets written: a name, kernel.json and logos.
Adding = tuple[str, dict[str, Any], dict[str, bytes]]


def _unchecked(arguments: argparse.Namespace, config: dict[str, Any]) -> Adding:
    if "remote_kernel_name" not in config:
        raise errors.SettingsError(
            text="With --no-check the host is not asked what it has: give --remote-kernel-name."
        )
    remote = config["remote_kernel_name"]
    host = _destination(config).host
    name = arguments.kernel_name or name_for(_kind(config), host, remote)
    display = arguments.display_name or display_for(remote, "", host)
    return _adding(arguments, name, display, arguments.language or "", config)


def _explicit(arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]) -> Adding:
    from . import wait_for
    from .remote import inspect, inspect_request

    remote = config["remote_kernel_name"]
    host = _destination(config).host

    async def ask_host() -> dict[str, Any]:
        return await inspect(
            _transport(config),
            config["remote_python"],
            inspect_request([remote]),
            connect=_patience(config),
            timeout=INSPECT_TIMEOUT,
            pythonhome=config.get("remote_pythonhome"),
        )

    with terminal.busy(f"Looking at {host} …"):
        inspection = wait_for(ask_host())
    spec = inspection["found"][remote]
    if "error" in spec:
        raise errors.from_agent(host, spec)
    name = arguments.kernel_name or name_for(_kind(config), host, remote)
    display = arguments.display_name or display_for(spec["display_name"], "", host)
    language = arguments.language or clean(spec["language"])[:LONGEST]
    return _adding(arguments, name, display, language, config, spec, inspection)


def _adding(
    arguments: argparse.Namespace,
    name: str,
    display_name: str,
    language: str,
    config: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    inspection: Mapping[str, Any] | None = None,
) -> Adding:
    name = kernelspec.check_name(name)
    _require_free(name, arguments)
    metadata = metadata_of(spec or {})
    content = kernelspec.make_content(name, display_name, language, config, metadata)
    return name, content, logos_of(spec or {}, inspection or {})


def _require_free(name: str, arguments: argparse.Namespace) -> None:
    existing = kernelspec.all_specs().get(name)
    if existing is not None and not (arguments.replace or arguments.dry_run):
        raise errors.KernelExists(name=name, path=existing.directory)


# -- looking at the host ---------------------------------------------------------------------------


def _from_inspection(
    arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]
) -> list[Adding]:
    from . import wait_for

    host = _destination(config).host
    with terminal.busy(f"Looking at {host} …"):
        inspection = wait_for(_inspect(config))
    if inspection["setup_trouble"]:
        raise errors.SetupFailed(host=host, details=inspection["setup_trouble"])
    offered = make(inspection)
    if not offered:
        raise errors.NothingThere(host=host)
    chosen = _chosen(arguments, terminal, config, offered)
    for candidate in chosen:
        if candidate.trouble:
            raise errors.NotUsable(host=host, path=candidate.path, reason=candidate.trouble)
    for candidate in [candidate for candidate in chosen if not candidate.spec]:
        if not _install(arguments, terminal, config, candidate):
            chosen.remove(candidate)
    adding: list[Adding] = []
    taken = list(kernelspec.all_specs()) if arguments.all and not arguments.replace else []
    for candidate in chosen:
        name = arguments.kernel_name or _name_of(candidate, _kind(config), host)
        if name in taken:
            terminal.note(f"{name}: is there already (--replace makes it anew)")
            continue
        name = unique(name, [other[0] for other in adding])
        default = display_for(candidate.display_name, candidate.environment, host)
        display = arguments.display_name or default
        if arguments.display_name is None and terminal.is_interactive and not arguments.all:
            display = terminal.ask(f"Name in Jupyter [{default}]:") or default
        own = {"remote_python": candidate.python, "remote_kernel_name": candidate.kernel_name}
        language = arguments.language or clean(candidate.language)[:LONGEST]
        full = {**own, **config, "remote_kernel_name": candidate.kernel_name}
        adding.append(_adding(arguments, name, display, language, full, candidate.spec, inspection))
    return adding


async def _inspect(config: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the host what it has, with its usual Python or the first that will do."""
    from .remote import find_python, inspect, inspect_request

    host = _transport(config)
    request = inspect_request(
        [],
        setup=config.get("setup"),
        login_shell=config.get("login_shell", False),
        environments=True,
    )

    async def ask_host(python: str) -> dict[str, Any]:
        return await inspect(
            host,
            python,
            request,
            connect=_patience(config),
            timeout=INSPECT_TIMEOUT,
            pythonhome=config.get("remote_pythonhome"),
        )

    if "remote_python" in config:
        return await ask_host(config["remote_python"])
    try:
        return await ask_host("python3")
    except (errors.PythonMissing, errors.PythonTooOld, errors.StrangeAnswer) as trouble:
        return await ask_host(await find_python(host, trouble))


def _chosen(
    arguments: argparse.Namespace,
    terminal: Terminal,
    config: Mapping[str, Any],
    offered: list[Candidate],
) -> list[Candidate]:
    """What the command line or a person wants of it. Raises `SettingsError`."""
    wanted = list(arguments.kernels)
    if "remote_kernel_name" in config:
        wanted.append(config["remote_kernel_name"])
    elif "remote_python" in config:
        wanted.append(config["remote_python"])
    host = _destination(config).host
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
                f"(sshpyk add {_destination(config).for_connect()} KERNEL), or say --all."
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
    arguments: argparse.Namespace,
    terminal: Terminal,
    config: Mapping[str, Any],
    candidate: Candidate,
) -> bool:
    """Install ipykernel there, if that is wanted. Raises `NoIpykernel`, `InstallFailed`."""
    from . import wait_for
    from .remote import ask, inspect, inspect_request

    host = _destination(config).host
    ssh = _destination(config).for_people()
    if not terminal.is_interactive and not (arguments.install_ipykernel and arguments.yes):
        raise errors.NoIpykernel(host=host, python=candidate.python, command=ssh)
    question = f"{candidate.path} on {host} has no ipykernel. Install it there now?"
    if not arguments.yes and not terminal.confirm(question):
        return False

    async def install() -> dict[str, Any]:
        machine, patience = _transport(config), _patience(config)
        request: InstallRequest = {"do": "install", "python": candidate.python}
        done = await ask(
            machine, candidate.python, request, connect=patience, timeout=INSTALL_TIMEOUT
        )
        if "failed" in done:
            raise errors.InstallFailed(
                host=host,
                python=candidate.python,
                command=ssh,
                details=done["failed"],
            )
        inspection = await inspect(
            machine,
            candidate.python,
            inspect_request(["python3"]),
            connect=patience,
            timeout=INSPECT_TIMEOUT,
        )
        return {"ipykernel": done["ipykernel"], "spec": inspection["found"]["python3"]}

    with terminal.busy(f"Installing ipykernel into {candidate.path} on {host} …"):
        done = wait_for(install())
    terminal.note(f"{candidate.path}: ipykernel {done['ipykernel']} is installed")
    candidate.ipykernel = done["ipykernel"]
    if "error" in done["spec"]:
        raise errors.from_agent(host, done["spec"])
    candidate.spec = done["spec"]
    return True


# -- names and hosts -------------------------------------------------------------------------------


def name_for(*parts: str) -> str:
    """A kernel's name made from a host's and others'."""
    text = re.sub(r"[^a-z0-9._-]+", "_", "_".join(filter(None, parts)).lower())
    return text[:LONGEST].lstrip("._-")


def _kind(config: Mapping[str, Any]) -> str:
    """How the name of a kernel begins."""
    return "" if config.get("via") else "ssh"


def display_for(display_name: str, environment: str, host: str) -> str:
    """What Jupyter's launcher calls a kernel."""
    where = f" ({environment})" if environment and environment not in display_name else ""
    return clean(f"{display_name[:LONGEST].replace(' (ipykernel)', '')}{where} @ {host}")


def _name_of(candidate: Candidate, kind: str, host: str) -> str:
    remote = candidate.kernel_name.rpartition("/")[2]
    if candidate.environment and remote == "python3":
        return name_for(kind, host, candidate.environment)
    return name_for(kind, host, candidate.environment, remote)


def _transport(config: Mapping[str, Any]) -> Transport:
    from .remote import transport_to

    return transport_to(_destination(config))


def _destination(config: Mapping[str, Any]) -> Destination | Entrance:
    from ..jupyter.places import destination_of

    return destination_of(config)


def _patience(config: Mapping[str, Any]) -> float:
    return float(config.get("launch_timeout", CONNECT_TIMEOUT))
