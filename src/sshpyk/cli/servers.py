"""What commands do with Jupyter Servers: add their kernels, log in, check them for `list`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..jupyter import kernelspec
from ..jupyter.kernelspec import LocalSpec
from ..jupyter.places import server_of
from ..server.address import HostServer, ServerAddress, split
from . import options
from .candidates import choose, unique
from .terminal import BAD, GOOD, INFO, UNKNOWN, WARNING, Terminal, clean

if TYPE_CHECKING:
    from ..server.credentials import Secret
    from ..server.rest import Server
    from .checks import Check

#: Settings that are about hosts, and of no use with a server.
OF_HOSTS: tuple[str, ...] = ("ssh_host_alias", "ssh", "ssh_config", "ssh_verbose", "via", "inside")
OF_HOSTS += ("remote_python", "setup", "slurm", "server")

#: What a server's kernelspec may have as its picture, and bytes of one.
LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")
LARGEST_LOGO = 256 * 1024

#: Characters of names that are made of what a server says.
LONGEST = 100


@dataclass(frozen=True)
class Offer:
    """Something to add: a kernelspec of the server's, or a kernel that runs there."""

    spec_name: str
    display_name: str
    language: str
    settings: dict[str, Any] = field(default_factory=dict)
    running: str = ""  # how it is, where it runs already
    called: str = ""  # its session
    metadata: dict[str, Any] = field(default_factory=dict)
    logos: tuple[str, ...] = ()

    def is_called(self, name: str) -> bool:
        """Whether a person means it by `name`."""
        id = self.settings.get("server_kernel_id")
        names = (id, self.called) if id else (self.spec_name, self.display_name)
        return bool(name) and name in names


def add(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """`sshpyk add URL`."""
    config = options.given(arguments)
    url, token = split(arguments.host)
    if wrong := [name for name in OF_HOSTS if name in config]:
        flag = wrong[0].replace("_", "-")
        raise errors.SettingsError(text=f"--{flag} is about hosts, and {url} is a Jupyter Server.")
    config["server_url"] = url
    address = server_of(config)
    assert address is not None
    address.check()
    if url.startswith("http:") and not re.match(r"http://(localhost|127\.|\[::1\])", url):
        terminal.note(
            "Without https:// others on the way can read the token and all else.", "yellow"
        )
    if arguments.no_check:
        name = config.get("remote_kernel_name")
        if name is None:
            raise errors.SettingsError(
                text="With --no-check the server is not asked what it has: give "
                "--remote-kernel-name."
            )
        if token:
            _keep(terminal, url, token)
        chosen = [Offer(name, name, "")]
        return _write(arguments, terminal, address, config, chosen, {})
    address, server, offers = _look(
        terminal,
        address,
        token,
        keep=not arguments.dry_run,
        options=config.get("server_options"),
        ids=_wanted(arguments, config),
    )
    config["server_url"] = address.url  # a Hub knows whose it is
    return _add(arguments, terminal, config, address, server, offers)


def add_on_host(arguments: argparse.Namespace, terminal: Terminal, config: dict[str, Any]) -> int:
    """`sshpyk add HOST --server`."""
    from ..server.rest import Server
    from . import wait_for

    address = server_of(config)
    assert address is not None
    server = Server(address)
    try:
        with terminal.busy(f"Looking at {address.host} …"):
            ids = _wanted(arguments, config)
            _, offers = wait_for(_offers(address, None, server=server, ids=ids))
        terminal.note(f"It is at {server.found}.", "dim")
        return _add(arguments, terminal, config, address, server, offers)
    finally:
        wait_for(server.leave())


def _add(
    arguments: argparse.Namespace,
    terminal: Terminal,
    config: Mapping[str, Any],
    address: ServerAddress,
    server: Server,
    offers: list[Offer],
) -> int:
    """Choose of what is there, and write it."""
    from . import wait_for

    chosen = _chosen(arguments, terminal, address.host, offers, _wanted(arguments, config))
    if len(chosen) > 1 and (arguments.kernel_name or arguments.display_name):
        raise errors.SettingsError(
            text=f"{len(chosen)} kernels can't share one --kernel-name or --display-name."
        )
    logos = {} if arguments.dry_run else wait_for(_logos(server, chosen))
    return _write(arguments, terminal, address, config, chosen, logos)


def _wanted(arguments: argparse.Namespace, config: Mapping[str, Any]) -> list[str]:
    """What is to be added, in a person's words."""
    wanted = list(arguments.kernels)
    for setting in ("server_kernel_id", "session", "remote_kernel_name"):
        wanted += [config[setting]] if setting in config and not wanted else []
    return wanted


def connect(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """`sshpyk connect URL`: have a token or a password kept, once the server takes it."""
    url, token = split(arguments.host)
    address = _known(url) or ServerAddress(url)
    if address.token_env or address.token_command:
        where = address.token_env or f"`{address.token_command}`"
        raise errors.SettingsError(
            text=f"The token of {address.host} comes from {where}, so none is kept.",
            advice="Have that give a right one, or remove the setting:",
            command="sshpyk edit NAME --unset "
            + ("token-env" if address.token_env else "token-command"),
        )
    if not token:
        token = _ask(address.host)
    address, _, _ = _look(terminal, address, token, keep=True)
    terminal.say(f"{address.host}: logged in")
    terminal.note("Kernels that wait for it go on by themselves.")
    return 0


def _known(url: str) -> ServerAddress | None:
    """The server as a kernelspec here has it, with what makes TLS work."""
    for spec in kernelspec.all_specs().values():
        address = server_of(spec.config) if spec.is_ours else None
        if address is not None and address.url == url:
            return address
    return None


# -- looking at the server -------------------------------------------------------------------------


def _look(
    terminal: Terminal,
    address: ServerAddress,
    given: str,
    *,
    keep: bool,
    options: Mapping[str, Any] | None = None,
    ids: Sequence[str] = (),
) -> tuple[ServerAddress, Server, list[Offer]]:
    """Ask the server what it has, with a secret that was `given`, or is kept, or a person types.

    Keeps the one that was right. Where that is a Hub's, the server is the person's own there, which
    is started with `options` if it does not run. Raises one of `trouble`.
    """
    from ..server.trouble import LoginMissing, LoginPage
    from . import wait_for

    text = given
    looking = f"Looking at {address.host} …"
    with contextlib.ExitStack() as stack:

        def tell(said: str) -> None:
            if shown is not None:
                shown(f"{address.host} is started … {said}")

        shown = stack.enter_context(terminal.busy(looking))
        try:
            if not text:
                server, offers = wait_for(_offers(address, None, options, tell, ids=ids))
                return _lasting(address, server), server, offers
        except (LoginMissing, LoginPage):
            if not terminal.is_interactive:
                raise
            stack.close()
            text = _ask(address.host)
            shown = stack.enter_context(terminal.busy(looking))
        server, offers, secret = wait_for(_try(address, text, options, tell, ids))
    if keep:
        _keep(terminal, server.address.url, secret.value, secret.kind)
    return _lasting(address, server), server, offers


def _lasting(address: ServerAddress, server: Server) -> ServerAddress:
    """What a kernelspec means: a Hub's server has an address that lasts, a Binder's has none."""
    return address if address.is_binders else server.address


def _ask(host: str) -> str:
    try:
        return getpass.getpass(f"Token or password of {host}: ").strip()
    except (EOFError, OSError):
        return ""


def _keep(terminal: Terminal, url: str, value: str, kind: str = "token") -> None:
    from ..server import credentials

    where = credentials.keep(url, credentials.Secret(kind, value))
    terminal.note(f"The {kind} is kept in {where}.", "dim")


async def _try(
    address: ServerAddress,
    text: str,
    options: Mapping[str, Any] | None,
    tell: Callable[[str], None],
    ids: Sequence[str],
) -> tuple[Server, list[Offer], Secret]:
    """A person need not know whether it is a token or a password."""
    from ..server import credentials
    from ..server.trouble import LoginMissing, LoginPage, LoginRefused, NotJupyter, ServerFailed

    if not text:
        raise LoginMissing(host=address.host, connect=address.login)
    secret = credentials.Secret(credentials.TOKEN, text)
    try:
        return *await _offers(address, secret, options, tell, ids=ids), secret
    except (LoginRefused, LoginPage) as error:
        refused = error
    secret = credentials.Secret(credentials.PASSWORD, text)
    try:
        return *await _offers(address, secret, options, tell, ids=ids), secret
    except (LoginRefused, LoginPage, NotJupyter, ServerFailed, LookupError):
        raise refused from None


async def _offers(
    address: ServerAddress,
    secret: Secret | None,
    options: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] | None = None,
    *,
    server: Server | None = None,
    ids: Sequence[str] = (),
) -> tuple[Server, list[Offer]]:
    """What is there; `server` asks, if there is one already, for `ids` too if it lists no kernels.

    Where a Hub has to start the server first, that is done only if somebody is to be told.
    """
    from ..server import binder, hub
    from ..server.rest import Server
    from ..server.trouble import LoginPage, NotJupyter

    server = server or Server(address, secret)
    await server.arrive()
    if server.address.is_binders and tell is not None:
        tell("")
        await binder.launch(server, tell)
    try:
        if tell is not None and await hub.is_away(server):
            tell("")
            await hub.start(server, options, tell)
        await server.kernelspecs()
    except (LoginPage, NotJupyter):
        # The address of a Hub itself is no server's, but says whose server is meant.
        if (own := await hub.own_server(server)) is None:
            raise
        return await _offers(replace(address, url=own), secret, options, tell, ids=ids)
    specs, kernels, sessions = await asyncio.gather(
        server.kernelspecs(), server.kernels(*ids), server.sessions()
    )
    offers = [_of_spec(name, entry) for name, entry in sorted(specs.items())]
    by_name = {offer.spec_name: offer for offer in offers}
    names = {s["kernel"].get("id"): str(s.get("name") or s.get("path") or "") for s in sessions}
    for kernel in kernels:
        spec = by_name.get(str(kernel.get("name")))
        offers.append(
            Offer(
                str(kernel.get("name")),
                spec.display_name if spec is not None else str(kernel.get("name")),
                spec.language if spec is not None else "",
                # It is somebody's work: shutting down here must not end it there.
                {"server_kernel_id": kernel["id"], "persistent": True},
                clean(str(kernel.get("execution_state") or "runs"))[:LONGEST],
                clean(names.get(kernel["id"], ""))[:LONGEST],
                spec.metadata if spec is not None else {},
                spec.logos if spec is not None else (),
            )
        )
    return server, offers


def _of_spec(name: str, entry: Mapping[str, Any]) -> Offer:
    spec, resources = entry["spec"], entry.get("resources")
    metadata = spec.get("metadata")
    debugger = isinstance(metadata, dict) and metadata.get("debugger") is True
    files = [str(path).rpartition("/")[2] for path in (resources or {}).values()]
    return Offer(
        name,
        clean(str(spec.get("display_name") or name))[:LONGEST],
        clean(str(spec.get("language") or ""))[:LONGEST],
        metadata={"debugger": True} if debugger else {},
        logos=tuple(file for file in files if file in LOGOS),
    )


async def _logos(server: Server, chosen: Sequence[Offer]) -> dict[str, dict[str, bytes]]:
    """The pictures of the kernelspecs, by their name; one that does not come is left out."""

    async def one(name: str, file: str) -> bytes | None:
        url = server.address.endpoint("kernelspecs", name, file)
        try:
            response = await server.fetch("GET", url, None, {}, 10.0)
        except (errors.SshpykError, LookupError):
            return None
        return response.body if 0 < len(response.body) <= LARGEST_LOGO else None

    found: dict[str, dict[str, bytes]] = {}
    for name, files in {offer.spec_name: offer.logos for offer in chosen}.items():
        for file in files:
            if (data := await one(name, file)) is not None:
                found.setdefault(name, {})[file] = data
    return found


# -- choosing and writing --------------------------------------------------------------------------


def _chosen(
    arguments: argparse.Namespace,
    terminal: Terminal,
    host: str,
    offers: list[Offer],
    wanted: Sequence[str],
) -> list[Offer]:
    """What the command line or a person wants of it. Raises `SettingsError`."""
    specs = [offer for offer in offers if not offer.running]
    if wanted:
        chosen = []
        for name in wanted:
            matches = [offer for offer in offers if offer.is_called(name)]
            if not matches and name == getattr(arguments, "session", None):
                # A session that is not there is begun by the first start.
                matches = specs if len(specs) == 1 else []
            if len(matches) != 1:
                _show(terminal, host, matches or offers)
                raise errors.SettingsError(
                    text=f"{name!r} names {len(matches)} of the kernels on {host}, and should "
                    "name one.",
                    advice="Name a kernelspec, a session, or the id of a kernel.",
                )
            chosen += matches
        return chosen
    if arguments.all:
        return specs
    if terminal.is_interactive and offers:
        _show(terminal, host, offers)
        answer = terminal.ask("Which to add (numbers, or all; Enter for none)?")
        if answer.lower() == "all":
            return specs
        return [offers[index] for index in choose(answer, len(offers))] if answer else []
    if len(specs) != 1:
        _show(terminal, host, offers)
        raise errors.SettingsError(
            text=f"{host} offers {len(specs)} kernels: name what to add, or say --all."
        )
    return specs


def _show(terminal: Terminal, host: str, offers: Sequence[Offer]) -> None:
    terminal.note(f"On {host}:")
    heads = ("", "kernel", "name", "language", "runs", "session", "id")
    rows = [
        (
            str(number),
            offer.display_name,
            offer.spec_name,
            offer.language,
            offer.running,
            offer.called,
            str(offer.settings.get("server_kernel_id", "")),
        )
        for number, offer in enumerate(offers, 1)
    ]
    terminal.table(heads, rows, beside=True)


def _write(
    arguments: argparse.Namespace,
    terminal: Terminal,
    address: ServerAddress,
    config: Mapping[str, Any],
    chosen: Sequence[Offer],
    logos: Mapping[str, dict[str, bytes]],
) -> int:
    written: list[str] = []
    for offer in chosen:
        of_session = offer.called if offer.running else config.get("session", "")
        display = f"{offer.display_name.replace(' (ipykernel)', '')}"
        if of_session:
            display += f" ({of_session})"
        where = address.host
        if address.through is not None:
            where = f"{address.through.destination.host} (Jupyter Server)"
        parts = ("server", re.sub(r" .*", "", where), offer.spec_name, of_session)
        made = re.sub(r"[^a-z0-9._-]+", "_", "_".join(filter(None, parts)).lower())[:LONGEST]
        name = kernelspec.check_name(arguments.kernel_name or unique(made, written))
        existing = kernelspec.all_specs().get(name)
        if existing is not None and not (arguments.replace or arguments.dry_run):
            if arguments.all:
                terminal.note(f"{name}: is there already (--replace makes it anew)")
                continue
            raise errors.KernelExists(name=name, path=existing.directory)
        # A session leads to its kernel, and to the one that it has after that.
        of_offer = {} if "session" in config else offer.settings
        settings = {**of_offer, **config, "remote_kernel_name": offer.spec_name}
        content = kernelspec.make_content(
            name,
            arguments.display_name or clean(f"{display} @ {where}"),
            arguments.language or offer.language,
            settings,
            offer.metadata,
        )
        written.append(name)
        if arguments.dry_run:
            terminal.raw(kernelspec.to_text(content))
            continue
        spec = kernelspec.write(name, content, logos.get(offer.spec_name))
        terminal.say(f"{name}: added {content['display_name']!r} in {spec.directory}")
    if written and not arguments.dry_run:
        terminal.note(f"Choose it in Jupyter, or try it: jupyter console --kernel {written[0]}")
    return 0


def _way(spec: LocalSpec, offers: Sequence[Offer]) -> Check:
    """How its kernels are reached, as far as what the server has tells."""
    from .checks import Check

    way = str(spec.config.get("server_way") or "auto")
    has_python = any(o.language.lower() == "python" for o in offers if not o.running)
    if way == "plain":
        return Check(INFO, "Way", "plain, as set: output may be lost with the connection")
    if not has_python:
        kind = BAD if way == "carried" else WARNING
        return Check(kind, "Way", "plain: the server has no Python kernel to carry others")
    return Check(GOOD, "Way", "carried, where the server's files can be read")


# -- for `list` ------------------------------------------------------------------------------------


async def check_all(
    specs: Sequence[LocalSpec], *, contact: bool, limit: float
) -> dict[str, list[Check]]:
    """What there is to say of kernelspecs on servers; each server is asked once.

    `limit` in seconds is what one of them may take.
    """
    from ..server.trouble import ServerStopped
    from .checks import Check

    addresses = {spec.name: server_of(spec.config) for spec in specs}
    ids: dict[ServerAddress, list[str]] = {}
    for spec in specs:
        address, id = addresses[spec.name], spec.config.get("server_kernel_id")
        if address is not None and id:
            ids.setdefault(address, []).append(str(id))

    async def ask(address: ServerAddress) -> list[Offer] | str | errors.SshpykError:
        from ..server.trouble import ServerSilent

        try:
            if (there := address.through) is not None:
                return await within(limit, _on_host(there))
            if address.is_binders:
                return "a Binder makes it when a kernel starts"
            return (await within(limit, _offers(address, None, ids=ids.get(address, ()))))[1]
        except errors.SshpykError as error:
            return error
        except TimeoutError:
            return ServerSilent(host=address.host)

    asked = list({address for address in addresses.values() if address} if contact else ())
    answers = dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))
    found = {}
    for spec in specs:
        address = addresses[spec.name]
        answer = None if address is None else answers.get(address)
        url = str(spec.config.get("server_url"))
        name = str(spec.config.get("remote_kernel_name") or "")
        id = str(spec.config.get("server_kernel_id") or "")
        if address is not None and address.through is not None:
            url = f"{spec.config.get('server')} of {address.through.destination.host}"
        checks = [Check(INFO, "Jupyter Server", clean(url))]
        if isinstance(answer, str):
            checks.append(Check(INFO, "Server Connection", clean(answer)))
        elif answer is None:
            checks.append(Check(UNKNOWN, "Server Connection", "not checked"))
        elif isinstance(answer, errors.SshpykError):
            # A Hub starts what it has stopped.
            mark = WARNING if isinstance(answer, ServerStopped) else BAD
            checks.append(Check(mark, "Server Connection", answer.line))
        else:
            checks.append(Check(GOOD, "Server Connection", "ok"))
            has = any(not offer.running and offer.spec_name == name for offer in answer)
            checks.append(_way(spec, answer))
            if id:
                runs = [o for o in answer if o.settings.get("server_kernel_id") == id]
                text = f"{id} ({runs[0].running})" if runs else f"{id} is not there"
                checks.append(Check(GOOD if runs else WARNING, "Kernel", text))
            elif not name or not has:
                text = f"{name} is not there" if name else "not set: --remote-kernel-name"
                checks.append(Check(BAD, "Remote Kernel Name", text))
            else:
                checks.append(Check(GOOD, "Remote Kernel Name", name))
        found[spec.name] = checks
    return found


async def _on_host(there: HostServer) -> str:
    """Whether a server of a host runs; nothing is started, and no way made."""
    from ..server import through

    found = through.meant(there, await through.ask(there))
    return "none runs there; a start of a kernel starts one" if found is None else found.name
