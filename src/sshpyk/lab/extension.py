"""What the extension adds to a Jupyter Server: events, and handlers of requests below /sshpyk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from . import handlers
from .events import Events
from .states import States

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def load(app: ServerApp) -> None:
    """Add it all to `app`, which starts."""
    events = Events(app.event_logger)
    states = States(app.io_loop.asyncio_loop, events, app.root_dir)
    app.web_app.settings[handlers.STATES] = states
    base: str = app.base_url
    app.web_app.add_handlers(
        ".*$",
        [(url_path_join(base, "sshpyk", path), handler) for path, handler in handlers.PATHS],
    )
    states.begin()
