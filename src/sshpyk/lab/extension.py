"""What the extension adds to a Jupyter Server: events, and handlers of requests below /sshpyk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from . import cards, failed, handlers
from .events import Events
from .logins import Logins
from .seeing import Seeing
from .states import States

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def load(app: ServerApp) -> None:
    """Add it all to `app`, which starts."""
    assert app.event_logger is not None  # made before extensions are loaded
    loop: asyncio.AbstractEventLoop = app.io_loop.asyncio_loop  # type: ignore[attr-defined]  # tornado's own names it
    events = Events(app.event_logger)
    states = States(loop, events, app.root_dir, lambda: failed.forget(app.kernel_manager))
    logins = Logins(lambda: events.tell("logins"))
    app.web_app.settings[handlers.STATES] = states
    app.web_app.settings[handlers.LOGINS] = logins
    app.web_app.settings[handlers.LOOKS] = cards.Looks()
    app.web_app.settings[handlers.SEEING] = Seeing(app.kernel_manager, states.find)
    base: str = app.base_url
    paths = [(url_path_join(base, "sshpyk", path), handler) for path, handler in handlers.PATHS]
    app.web_app.add_handlers(".*$", paths)  # type: ignore[no-untyped-call]
    states.begin()
