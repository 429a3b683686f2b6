"""Requests of the browser. All are Jupyter Server's to let in: user, authorizer, XSRF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..link.thread import io_thread

if TYPE_CHECKING:
    from .states import States

#: Where the server's settings have what handlers need.
STATES = "sshpyk_states"


class Handler(APIHandler):
    """Who may see and start kernels may see how they are, and log in for them."""

    auth_resource = "kernels"

    @property
    def states(self) -> States:
        found: States = self.settings[STATES]
        return found


class KernelsHandler(Handler):
    """The states of all remote kernels."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """For a page that loads; what comes later comes by events."""
        self.finish_json(self.states.now())

    def finish_json(self, content: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(content)


class RetryHandler(Handler):
    """Try at once to reach a kernel that is away."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Begin that; how it comes out is told by events."""
        kernels = self.states.find(kernel_id)
        if not kernels:
            raise web.HTTPError(404, "there is no such remote kernel")
        for kernel in kernels:
            io_thread().loop.call_soon_threadsafe(kernel.retry)
        self.set_status(204)
        self.finish()


PATHS: list[tuple[str, type[Handler]]] = [
    (r"kernels", KernelsHandler),
    (r"kernels/([\w-]+)/retry", RetryHandler),
]
