"""Requests of the browser. All are Jupyter Server's to let in: user, authorizer, XSRF."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..link.address import KernelAddress
from ..link.thread import io_thread
from ..ssh.command import Destination
from ..transport.entrance import Entrance

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel
    from .logins import Login, Logins
    from .states import States

#: Where the server's settings have what handlers need.
STATES, LOGINS = "sshpyk_states", "sshpyk_logins"


def ssh_destination(kernel: RemoteKernel) -> Destination | None:
    """The host that ssh logs in to for a kernel, if it does."""
    address = kernel.address
    found = address.destination if isinstance(address, KernelAddress) else None
    host = found.outer if isinstance(found, Entrance) else found
    # A connection that paramiko makes is its process's own; `sshpyk connect` leaves a password.
    return host if isinstance(host, Destination) and not host.is_by_paramiko else None


class Handler(APIHandler):
    """Who may see and start kernels may see how they are, and log in for them."""

    auth_resource = "kernels"

    @property
    def states(self) -> States:
        found: States = self.settings[STATES]
        return found

    @property
    def logins(self) -> Logins:
        found: Logins = self.settings[LOGINS]
        return found

    def body(self, **kinds: type) -> dict[str, Any]:
        """The JSON object that was sent, which must have these fields of these kinds."""
        content = self.get_json_body()
        if not isinstance(content, dict):
            raise web.HTTPError(400, "an object is expected")
        for name, kind in kinds.items():
            if type(content.get(name)) is not kind:  # for a bool is an int
                raise web.HTTPError(400, f"{name} is missing, or of a wrong kind")
        return content

    def finish_json(self, content: Any) -> None:
        """Answer with that."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(content))

    def finish_empty(self) -> None:
        """Answer that it was done."""
        self.set_status(204)
        self.finish()


class KernelsHandler(Handler):
    """The states of all remote kernels."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """For a page that loads; what comes later comes by events."""
        self.states.is_watched = True
        self.finish_json(self.states.now())


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
        self.finish_empty()


class LoginsHandler(Handler):
    """Logins under way, and those that were lately."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """All of them, with what each asks now."""
        self.finish_json(self.logins.now())

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Begin to log in to the host of a kernel."""
        kernels = self.states.find(self.body(kernel=str)["kernel"])
        if not kernels:
            raise web.HTTPError(404, "there is no such remote kernel")
        destination = ssh_destination(kernels[-1])
        if destination is None:
            raise web.HTTPError(400, "there is no ssh to log in with")
        login = self.logins.begin(destination)
        self.set_status(201)
        self.finish_json(login.to_json())


class LoginHandler(Handler):
    """One login."""

    def found(self, identifier: str) -> Login:
        """The login, or the answer that there is none."""
        login = self.logins.find(identifier)
        if login is None:
            raise web.HTTPError(404, "there is no such login")
        return login

    @web.authenticated
    @authorized
    async def post(self, identifier: str) -> None:
        """Answer its question."""
        login = self.found(identifier)
        given = self.body(number=int, answer=str, keep=bool)
        if not login.answer(given["number"], given["answer"], keep=given["keep"]):
            raise web.HTTPError(409, "that is not being asked any more")
        self.finish_empty()

    @web.authenticated
    @authorized
    async def delete(self, identifier: str) -> None:
        """Give it up."""
        self.found(identifier).task.cancel()
        self.finish_empty()


PATHS: list[tuple[str, type[Handler]]] = [
    (r"kernels", KernelsHandler),
    (r"kernels/([\w-]+)/retry", RetryHandler),
    (r"logins", LoginsHandler),
    (r"logins/(\w+)", LoginHandler),
]
