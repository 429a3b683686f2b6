"""Servers that a Binder makes: one is asked for when a kernel starts, and is gone when it is idle.

A Binder builds an image of a repository, and starts a server in it, telling how far it is by
server-sent events; the last has the server's URL and token. A kernelspec has the address at which
it tells that: such a server has none of its own that lasts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

from .. import errors
from . import credentials, trouble
from .address import ServerAddress, split
from .credentials import NOTHING, SERVER, TOKEN, Secret
from .rest import Server

#: Seconds for an image to be built, and a server to start in it.
BUILD = 1800.0

#: Characters of what a Binder says.
MOST_TEXT = 200


async def launch(server: Server, tell: Callable[[str], None]) -> None:
    """Have `server`, whose address is a Binder's, mean a server that runs: the last one, or a new.

    Its token is kept as all are. `tell` is called with what the Binder says. Raises one of
    `trouble`.
    """
    address = server.address
    last = (await asyncio.to_thread(credentials.kept, address.url)).value
    if last and await _runs(replace(address, url=last)):
        server.address = replace(address, url=last)
        return
    if last:
        # It never comes back, and its token is of no use.
        await asyncio.to_thread(credentials.keep, last, Secret(NOTHING))
    url, token = await _build(address, tell)
    await asyncio.to_thread(credentials.keep, url, Secret(TOKEN, token))
    await asyncio.to_thread(credentials.keep, address.url, Secret(SERVER, url))
    server.address = replace(address, url=url)


async def _runs(address: ServerAddress) -> bool:
    try:
        await Server(address).kernelspecs()
    except errors.SshpykError:
        return False
    return True


async def _build(address: ServerAddress, tell: Callable[[str], None]) -> tuple[str, str]:
    """A new server's URL and token. Raises one of `trouble`."""
    asking = Server(address, Secret(NOTHING))  # whatever is kept is for servers
    page = address.url.replace("/build/", "/v2/")
    said = ""
    async for event in asking.events(address.url.rstrip("/"), timeout=BUILD):
        said = str(event.get("message") or "").strip()[:MOST_TEXT] or said
        phase = re.sub(r"[^a-z]", "", str(event.get("phase") or ""))[:40]
        if phase == "failed":
            break
        if phase == "ready":
            url, token = split(str(event.get("url") or ""))[0], str(event.get("token") or "")
            if not credentials.is_token(token):
                raise asking.not_jupyter("the Binder names a server without a token")
            return url, token
        tell(f"{phase}: {said}" if phase else said)
    raise trouble.NoBinder(host=address.host, url=page, details=said)
