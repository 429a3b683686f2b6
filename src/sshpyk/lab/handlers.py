"""Requests of the browser. All are Jupyter Server's to let in: user, authorizer, XSRF."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async
from tornado import iostream, web

from .. import errors
from ..aio import within
from ..cli.look import config_of, destination_of, look
from ..link.address import KernelAddress
from ..link.thread import io_thread
from ..schedulers.base import Allocation
from ..server.address import ServerAddress
from ..ssh.command import Destination
from ..transport.entrance import Entrance
from . import cards, hosts

if TYPE_CHECKING:
    from ..cli.candidates import Candidate
    from ..cli.look import Look
    from ..remotekernel import RemoteKernel
    from .logins import Login, Logins
    from .seeing import Seeing
    from .states import States

#: Where the server's settings have what handlers need.
STATES, LOGINS, LOOKS = "sshpyk_states", "sshpyk_logins", "sshpyk_looks"
SEEING = "sshpyk_seeing"

#: Seconds after which an answer that takes long sends a blank line, lest a proxy ends it.
STILL_HERE = 15.0

#: Seconds for a kernel's host to say how it is.
MEASURE_TIMEOUT = 3.0

T = TypeVar("T")


def ssh_destination(kernel: RemoteKernel) -> Destination | None:
    """The host that ssh logs in to for a kernel, if it does."""
    address = kernel.address
    return ssh_of(address.destination) if isinstance(address, KernelAddress) else None


def ssh_of(found: Destination | Entrance | Allocation | ServerAddress) -> Destination | None:
    """The host that ssh logs in to, on the way to a place."""
    if isinstance(found, ServerAddress):
        return None
    host = found if isinstance(found, Destination) else found.outer
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

    @property
    def seeing(self) -> Seeing:
        found: Seeing = self.settings[SEEING]
        return found

    @property
    def looks(self) -> cards.Looks:
        found: cards.Looks = self.settings[LOOKS]
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

    def remote(self, kernel_id: str) -> list[RemoteKernel]:
        """The remote kernels of one of Jupyter Server's ids, the latest last; 404 without any."""
        found = self.states.find(kernel_id)
        if not found:
            raise web.HTTPError(404, "there is no such remote kernel")
        return found

    def finish_json(self, content: Any) -> None:
        """Answer with that."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(content))

    def finish_empty(self) -> None:
        """Answer that it was done."""
        self.set_status(204)
        self.finish()


class LongHandler(Handler):
    """A request whose answer takes long: lines of JSON, the last with "done" or "error".

    The work is cancelled when the page that has asked goes away.
    """

    _task: asyncio.Task[Any] | None = None

    def on_connection_close(self) -> None:
        """The page has gone, or has had enough."""
        super().on_connection_close()
        if self._task is not None:
            self._task.cancel()

    async def tell(self, **line: Any) -> None:
        """Send a line."""
        self.write(json.dumps(line) + "\n")
        await self.flush()

    async def follow(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do the work; what it gives is told as "done"."""
        self.set_header("Content-Type", "application/x-ndjson")
        self.set_header("X-Accel-Buffering", "no")  # nginx would hold lines back
        self._task = task = asyncio.ensure_future(work)
        with contextlib.suppress(iostream.StreamClosedError, asyncio.CancelledError):
            while not (await asyncio.wait([task], timeout=STILL_HERE))[0]:
                self.write("\n")
                await self.flush()
            try:
                await self.tell(done=task.result())
            except errors.SshpykError as error:
                await self.tell(error=error.to_json())
            await self.finish()

    async def with_login(
        self, place: Destination | Entrance | Allocation, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do work on the I/O thread; where a login is missing have a person log in first."""
        try:
            return await io_thread().run(work())
        except errors.NeedsPerson as error:
            destination = ssh_of(place)
            if destination is None or isinstance(error, errors.HostKeyChanged):
                raise
        login = self.logins.begin(destination)
        await self.tell(login=login.id)
        await asyncio.wait([login.task])
        if login.error is not None:
            raise login.error
        return await io_thread().run(work())


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
        for kernel in self.remote(kernel_id):
            io_thread().loop.call_soon_threadsafe(kernel.retry)
        self.finish_empty()


class MeasureHandler(Handler):
    """What the connection to a kernel is like."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Ask its host, which takes a round trip."""
        kernels = self.remote(kernel_id)
        with contextlib.suppress(TimeoutError, errors.SshpykError):
            work = io_thread().run(kernels[-1].measure())
            self.finish_json(await within(MEASURE_TIMEOUT, work))
            return
        self.finish_json({})  # it is away


class SeeingHandler(Handler):
    """A page shows what a kernel prints, again, or has saved it."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """`saved` is the id of the last message that is; empty: the page is connected again."""
        message = self.body(saved=str)["saved"]
        self.remote(kernel_id)
        if message:
            self.seeing.saved(kernel_id, message)
        else:
            self.seeing.claim(kernel_id, resumed=True)
        self.finish_empty()


class CollectHandler(LongHandler):
    """What came while nobody saw it."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """What is to change in a notebook that was opened."""
        given = self.body(notebook=dict, after=str)
        kernels = self.remote(kernel_id)
        notebook = given["notebook"]
        cells = notebook.get("cells")
        if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
            raise web.HTTPError(400, "that is no notebook")
        work = self.seeing.collect(kernels[-1], kernel_id, notebook, given["after"])
        await self.follow(work)


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
        """Begin to log in to the host of a kernel, or to one by its name."""
        given = self.body()
        trouble: errors.SshpykError | None = None
        destination = None
        if isinstance(given.get("host"), str):
            with contextlib.suppress(errors.SettingsError):
                destination = ssh_of(destination_of(config_of(given["host"])))
        else:
            kernels = self.remote(self.body(kernel=str)["kernel"])
            destination = ssh_destination(kernels[-1])
            trouble = kernels[-1].status.trouble
        if destination is not None:
            login = self.logins.begin(destination)
            self.set_status(201)
            self.finish_json(login.to_json())
        elif trouble is not None:
            self.finish_json({"error": trouble.to_json()})  # it says what to do instead
        else:
            raise web.HTTPError(404, "there is no ssh to log in with")


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


class CardsHandler(Handler):
    """The remote kernels of the launcher, and what they can be made of."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """All of them, the hosts to choose from, and the settings there are."""
        self.finish_json(await asyncio.to_thread(cards.known))


class CardHandler(Handler):
    """One of them."""

    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """Change it: its name for people, and all of its settings."""
        given = self.body(display_name=str, config=dict)
        try:
            done = cards.change(name, given["display_name"], given["config"])
        except errors.SshpykError as error:
            self.finish_json({"error": error.to_json()})
        else:
            self.finish_json({"changed": done})

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Remove it."""
        try:
            cards.remove(name)
        except errors.SshpykError as error:
            self.finish_json({"error": error.to_json()})
        else:
            self.finish_empty()


class LooksHandler(LongHandler):
    """Looking at hosts."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Look at a host; what it offers."""
        await self.follow(self._look(self.body(host=str)["host"].strip()))

    async def _look(self, host: str) -> dict[str, Any]:
        config = config_of(host)
        found = await self.with_login(destination_of(config), lambda: look(config))
        return self.looks.keep(found)


class AddHandler(LongHandler):
    """Adding what a look has found."""

    @web.authenticated
    @authorized
    async def post(self, identifier: str) -> None:
        """Add one; `install` says that ipykernel may be put there."""
        given = self.body(number=int, display_name=str, install=bool)
        found = self.looks.find(identifier)
        if found is None or not 0 <= given["number"] < len(found.offered):
            raise web.HTTPError(404, "there is no such offer: look again")
        candidate = found.offered[given["number"]]
        if not candidate.spec and not given["install"]:
            raise web.HTTPError(409, "there is no ipykernel, and it was not said to install it")
        await self.follow(self._add(found, candidate, given["display_name"].strip()))

    async def _add(self, found: Look, candidate: Candidate, display_name: str) -> dict[str, str]:
        spec = await cards.add(found, candidate, display_name)
        return {"name": spec.name, "display_name": spec.content["display_name"]}


class HostsHandler(LongHandler):
    """What runs on hosts."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Look there: a request that asks hosts, so none to be made in passing."""
        self.body()
        await self.follow(self._survey())

    async def _survey(self) -> list[dict[str, Any]]:
        found = await io_thread().run(hosts.survey())
        for host in found:
            for kernel in host["kernels"]:
                kernel["here"] = self.states.find_on_host(host["host"], kernel["id"])
        return found


class HostKernelHandler(LongHandler):
    """One kernel on a host: stop it, read its logs, attach to it."""

    @property
    def kernels(self) -> Any:
        """Jupyter Server's, whose types are not all known."""
        return self.kernel_manager

    @web.authenticated
    @authorized
    async def post(self, identifier: str, action: str) -> None:
        """Do one of these."""
        host = self.body(host=str)["host"]
        work = {"stop": self._stop, "logs": self._logs, "attach": self._attach}[action]
        await self.follow(work(host, identifier))

    async def _stop(self, host: str, id: str) -> None:
        here = self.states.find_on_host(host, id)
        if here in self.kernels:
            await ensure_async(self.kernels.shutdown_kernel(here, now=True))
        # One that is persistent was only left by that; of others nothing may be there now.
        gone = (errors.KernelGone, errors.NoKernel) if here else ()
        with contextlib.suppress(*gone):
            await io_thread().run(hosts.end(host, id))

    async def _logs(self, host: str, id: str) -> dict[str, str]:
        return await io_thread().run(hosts.read_logs(host, id))

    async def _attach(self, host: str, id: str) -> dict[str, str]:
        here = self.states.find_on_host(host, id)
        if here in self.kernels:
            manager = self.kernels.get_kernel(here)
            return {"kernel_id": here, "name": manager.kernel_name}
        name, path = await io_thread().run(hosts.attachable(host, id))
        starting = self.kernels.start_kernel(kernel_name=name, existing=path)
        started: str = await ensure_async(starting)
        return {"kernel_id": started, "name": name}


PATHS: list[tuple[str, type[Handler]]] = [
    (r"kernels", KernelsHandler),
    (r"kernels/([\w-]+)/retry", RetryHandler),
    (r"kernels/([\w-]+)/measure", MeasureHandler),
    (r"kernels/([\w-]+)/seeing", SeeingHandler),
    (r"kernels/([\w-]+)/collect", CollectHandler),
    (r"logins", LoginsHandler),
    (r"logins/(\w+)", LoginHandler),
    (r"cards", CardsHandler),
    (r"cards/([\w.-]+)", CardHandler),
    (r"looks", LooksHandler),
    (r"looks/(\w+)/add", AddHandler),
    (r"hosts", HostsHandler),
    (r"hosts/kernels/([\w-]+)/(stop|logs|attach)", HostKernelHandler),
]
