"""The JupyterHub that a server belongs to: it starts the server where that does not run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from .. import errors
from ..wire.liveness import Backoff
from . import trouble
from .address import HubServer
from .rest import Server

#: Seconds for a Hub to take on the start of a server: it answers after ten, ready or not.
TAKE = 60.0

#: Seconds for a server to start. Images are pulled and machines made meanwhile.
START = 600.0

#: Seconds between attempts where a Hub has no room; it may name others.
LEAST_PAUSE, MOST_PAUSE = 1.0, 60.0

#: Characters of what a Hub says about how far it is.
MOST_TEXT = 200


async def is_away(server: Server) -> bool:
    """Whether the server has a Hub and does not run. Raises one of `trouble`."""
    if server.address.hub is None:
        return False
    try:
        return not await _answers(server, server.address.hub)
    except trouble.ServerAway:
        return True


async def start(
    server: Server, options: Mapping[str, Any] | None, tell: Callable[[str], None]
) -> None:
    """Have the Hub start the server, and wait until it runs, however long that takes.

    `options` are what the Hub's page would ask for. `tell` is called with what the Hub says
    meanwhile. Raises one of `trouble`.
    """
    hub = server.address.hub
    assert hub is not None
    try:
        await _begin(server, hub, options or {}, tell)
        await _follow(server, hub, tell)
    except LookupError:
        # There is no Hub, or no such user.
        raise trouble.ServerAway(host=server.host, url=server.address.url, status=424) from None


async def _begin(
    server: Server, hub: HubServer, options: Mapping[str, Any], tell: Callable[[str], None]
) -> None:
    kind = {"Content-Type": "application/json"}
    while True:
        try:
            await server.fetch("POST", hub.api("server"), json.dumps(options), kind, TAKE)
            return
        except trouble.ServerBusy as busy:
            tell(busy.details or "the Hub has no room now")
            await asyncio.sleep(min(max(busy.seconds, LEAST_PAUSE), MOST_PAUSE))
        except trouble.LoginRefused as refused:
            raise trouble.MayNotStart(**{**refused.fields, "url": hub.page}) from None
        except trouble.ServerFailed as failed:
            # Somebody else may have started it, or be about to.
            if failed.fields["status"] == 400 and await _is_there(server, hub):
                return
            raise trouble.NotStarted(**{**failed.fields, "url": hub.page}) from None


async def _follow(server: Server, hub: HubServer, tell: Callable[[str], None]) -> None:
    """Wait until the server is ready; a proxy may cut what the Hub tells of that."""
    backoff = Backoff()
    while True:
        try:
            async for event in server.events(hub.api("server/progress"), timeout=START):
                said = str(event.get("message") or "")[:MOST_TEXT]
                if event.get("failed"):
                    raise trouble.NotStarted(
                        host=server.host, status=200, what="it failed", details=said, url=hub.page
                    )
                if event.get("ready"):
                    return
                percent = event.get("progress")
                tell(f"{said} ({percent} %)" if isinstance(percent, int) else said)
        except (trouble.ServerSilent, trouble.ServerAway):
            pass
        except trouble.ServerFailed as failed:
            # It is not starting: it is there by now, or has ended again.
            if failed.fields["status"] != 400 or not await _is_there(server, hub):
                raise
        if await _is_ready(server, hub):
            return
        await asyncio.sleep(backoff.pause())


async def _is_there(server: Server, hub: HubServer, *, or_is_about_to: bool = True) -> bool:
    """Whether the Hub says that the server runs, or, where that will do, `or_is_about_to`."""
    response = await server.fetch("GET", hub.api(), None, {}, TAKE)
    try:
        user = json.loads(response.body)
    except (ValueError, RecursionError):
        user = None
    servers = user.get("servers") if isinstance(user, dict) else None
    model = servers.get(unquote(hub.name)) if isinstance(servers, dict) else None
    if not isinstance(model, dict):
        return False
    return bool(model.get("ready") or (or_is_about_to and model.get("pending") == "spawn"))


async def _is_ready(server: Server, hub: HubServer) -> bool:
    try:
        return await _answers(server, hub)
    except errors.HostError:
        return False


async def _answers(server: Server, hub: HubServer) -> bool:
    """Whether an answer to a request is the server's own. Raises one of `trouble`."""
    try:
        await server.ask("GET", "status")
        return True
    except LookupError:
        return True  # a gateway has no such thing
    except trouble.ServerStopped as stopped:
        if stopped.fields["status"] != 404:
            raise
    # A gateway, too, or the user's default server in place of a named one.
    try:
        return await _is_there(server, hub, or_is_about_to=False)
    except (LookupError, trouble.LoginRefused):
        return True  # no Hub, or one that does not tell


async def own_server(server: Server) -> str | None:
    """The URL of the own server of the user to whom a Hub at `server` knows the secret to belong;
    None where there is no Hub. Raises one of `trouble`."""
    try:
        user = await server.fetch(
            "GET", server.address.endpoint("hub", "api", "user"), None, {}, TAKE
        )
        name = json.loads(user.body)["name"]
    except (LookupError, ValueError, TypeError, RecursionError, trouble.NotJupyter):
        return None
    return server.address.endpoint("user", str(name)) + "/"
