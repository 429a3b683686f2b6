"""`sshpyk browse`: the web interface of a Jupyter Server, also of one that only a host reaches."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import html
import os
import shlex
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import errors
from ..server.address import ANY, HostServer, ServerAddress, is_url, split
from . import described, kernels, port
from .options import line
from .place import Place
from .terminal import Terminal

if TYPE_CHECKING:
    from ..server.through import Way

DESCRIPTION = """\
Open the web interface of a Jupyter Server in the browser. On a HOST a server of yours that runs
there is found, or one is started in DIRECTORY, and a local port leads there, which lives through
outages and sleep. It stays open until Ctrl+C; a server that was started then ends, unless --keep
says otherwise. With a URL, the server's own page is opened.
"""

#: A page that goes on to the server: a token in a command line could be seen by other users.
PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Opening {name}</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={url}">
</head><body><p><a href="{url}">{name}</a></p></body></html>
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "place", metavar="HOST|URL", help="a host, the URL of a server, or a kernel of either"
    )
    parser.add_argument(
        "which",
        nargs="?",
        type=line,
        metavar="DIRECTORY|PORT",
        help="where the server works, or the port there of one that runs (default: any that "
        "runs, else one in your home)",
    )
    parser.add_argument(
        "--local",
        type=port.local,
        metavar="PORT",
        help="the port here (default: the same as there, or another if that is taken)",
    )
    parser.add_argument("--remote-python", metavar="PATH", help="the Python there to look with")
    kernels.add_place_options(parser, host_option=False)
    parser.add_argument("--keep", action="store_true", help="leave a server that was started")
    parser.add_argument(
        "--stop", action="store_true", help="end the server there, which sshpyk has started"
    )
    parser.add_argument(
        "--no-open", action="store_true", help="open no browser; say what is to be opened"
    )
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    address = _address(arguments)
    if address.through is None:
        if arguments.which or arguments.stop or arguments.keep or arguments.local is not None:
            raise errors.SettingsError(
                text=f"{address.host} is a server of its own: of that, only its page is opened.",
                advice="Leave out what is for the servers of a host.",
            )
        _say(arguments, terminal, address.url, address.url)
        if not arguments.no_open:
            webbrowser.open(address.url)
        return 0
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)  # nothing may stay on the host
    if arguments.stop:
        return int(wait_for(_stop(address.through, terminal)))
    try:
        return int(wait_for(_serve(arguments, address.through, terminal)))
    except KeyboardInterrupt:
        return 0  # which is how it ends


def _address(arguments: argparse.Namespace) -> ServerAddress:
    """What is meant by the words. Raises `SettingsError`."""
    from ..jupyter import kernelspec
    from ..jupyter.places import server_of

    name = arguments.place
    if is_url(name):
        address = ServerAddress(split(name)[0])
        if address.is_binders:
            return replace(address, url=address.url.replace("/build/", "/v2/"))
        return address
    spec = kernelspec.all_specs().get(name.lower())
    known = server_of(spec.config) if spec is not None and spec.is_ours else None
    if known is not None and (known.through is None or arguments.which is None):
        known.check()
        return known
    if spec is not None and spec.is_ours and known is None:
        name = str(spec.config.get("ssh_host_alias") or spec.config.get("via") or name)
    place = kernels.places([name], arguments.ssh_config)[0]
    place.destination.check()
    assert not isinstance(place.destination, ServerAddress)  # one was not asked for
    there = HostServer(
        place.destination, arguments.remote_python or place.python, arguments.which or ANY
    )
    return ServerAddress("http://localhost/", through=there)


async def _serve(arguments: argparse.Namespace, there: HostServer, terminal: Terminal) -> int:
    """Have a way there, and keep it until it is closed."""
    from ..server import through

    with terminal.busy(f"Looking for {there.name} …"):
        local = arguments.local
        way = await through.open_way(there, is_left=arguments.keep, local=local)
    try:
        with _page(way) as page:
            own = page if arguments.no_open else ""
            _say(arguments, terminal, way.url, own, way)
            if not arguments.no_open:
                await asyncio.to_thread(webbrowser.open, f"file://{page}")
            return await port.stay_open(way.link, way.port, terminal)
    finally:
        await way.close()


def _say(
    arguments: argparse.Namespace, terminal: Terminal, url: str, page: str, way: Way | None = None
) -> None:
    if arguments.json:
        server = None if way is None else way.server
        fields = {
            "url": url,
            "page": page or None,
            "port": None if server is None else server.port or None,
            "directory": None if server is None else server.directory,
        }
        terminal.raw(described.write(fields))
    elif way is not None:
        terminal.say(
            f"{way.url} is {way.server.name} of {way.link.transport.host}. Ctrl+C closes it."
        )
        if way.is_ours and not arguments.keep:
            terminal.note("That also ends the server, which was started for it.", "dim")
        if page:
            terminal.say(f"Open in a browser: file://{page}")
    elif arguments.no_open:
        terminal.say(url)
    sys.stdout.flush()


@contextlib.contextmanager
def _page(way: Way) -> Iterator[str]:
    """A file that only its owner can read, which leads a browser to the server; its path."""
    from jupyter_core.paths import jupyter_runtime_dir, secure_write

    url = f"{way.url}?token={way.server.token}" if way.server.token else way.url
    # Where Jupyter has its own: a browser in a sandbox reads no other.
    os.makedirs(jupyter_runtime_dir(), 0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sshpyk-", dir=jupyter_runtime_dir()) as directory:
        path = os.path.join(directory, "open.html")
        with secure_write(path) as file:
            file.write(PAGE.format(url=html.escape(url), name=html.escape(way.server.name)))
        yield path


async def _stop(there: HostServer, terminal: Terminal) -> int:
    """End the server that is meant, if sshpyk has started it. Raises `SettingsError`."""
    from ..server import through

    place = Place(there.destination, there.python)
    found = through.meant(there, await through.ask(there))
    (survey,) = await kernels.survey_all([place])
    if survey.trouble is not None:
        raise survey.trouble
    known = {kernel["kernel"]["pid"]: kernel["id"] for kernel in survey.kernels}
    if found is None or found.pid not in known:
        what = "none runs" if found is None else f"{found.name} was started by somebody else"
        raise errors.SettingsError(
            text=f"There is no server to end on {place.host}: {what}.",
            advice="See what sshpyk has started there:",
            command=f"sshpyk ps {shlex.quote(place.argument)}",
        )
    await place.ask({"do": "stop", "id": known[found.pid]})
    terminal.say(f"{found.name} of {place.host}: ended")
    return 0
