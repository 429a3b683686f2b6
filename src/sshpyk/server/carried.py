"""A kernel of a Jupyter Server, carried: our agent there is its client, and nothing is lost.

It is an ordinary kernel of that server, started, interrupted, started again and ended by requests
to it. A helper kernel beside it runs our programs (`transport`), and the agent attaches to the
kernel by its connection file. From there on it is a link like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import take_exception, within
from ..link.connectivity import State
from ..link.link import Link
from ..remotekernel import Stage
from ..wire.liveness import Backoff
from . import hub, sessions, trouble
from .messages import Signer
from .resigning import Resigner

if TYPE_CHECKING:
    from ..link.address import AgentAddress
    from ..link.log import KernelLog
    from ..link.pacing import Limits
    from ..wire.requests import AttachedRequest, Exit, KernelRequest, Keys, LaunchRequest
    from .transport import ServerTransport

#: Seconds that ending a kernel may take, when the server is there and when it is out of reach.
END_WITHIN = 8.0
AWAY_WITHIN = 1.0

#: Seconds between attempts where the server wants a person: hosts count failures.
FOR_A_PERSON = 30.0

#: Seconds between looks whether a kernel that died is there still, for its server ends it slowly,
#: and whether what it has said is here.
LOOKS = (0.2, 0.5, 1.0, 2.0)

#: Seconds for the server to start a kernel again that has died.
REVIVED_WITHIN = 10.0


class CarriedKernel(Link):
    """A kernel on the server that `transport` reaches; `kernel_id` is one that runs there already,
    `options` what a JupyterHub asks for before it starts the server.

    Its agent's id is the kernel's id on the server. `keys` are those of clients that were there
    before it, and can't take its own.
    """

    transport: ServerTransport

    def __init__(
        self,
        transport: ServerTransport,
        agent: AgentAddress,
        log: KernelLog,
        *,
        limits: Limits | None = None,
        kernel_id: str = "",
        options: Mapping[str, Any] | None = None,
        keys: Keys | None = None,
    ) -> None:
        super().__init__(transport, agent, log, limits=limits)
        self._keys = keys
        self.resigns = keys is not None
        self._sockets: Mapping[str, socket.socket] = {}  # until the keys of both sides are known
        self.server = transport.server
        self.kernel_id = kernel_id
        self._options = options or {}
        self._name = ""  # of its kernelspec there, once it is known
        self._creating: asyncio.Task[sessions.Found] | None = None
        self._is_ours = False  # whether we have started it
        self._is_deleted = False
        self._deleting = asyncio.Lock()
        self._died_by_itself = False
        self.streams.rests = True
        self.streams.answers_heartbeats = True
        self.streams.on_shutdown = self._on_shutdown

    # -- starting and attaching ------------------------------------------------------------------

    async def start(
        self, request: LaunchRequest, sockets: Mapping[str, socket.socket], *, timeout: float
    ) -> None:
        self.transport.lend(request["lease"])
        self.transport.hold(self)
        self._sockets = sockets

        async def work() -> None:
            if self._keys is None:
                self._listen()
            await self._have_server()
            login = asyncio.ensure_future(self._log_in(timeout))
            login.add_done_callback(take_exception)
            try:
                await asyncio.gather(login, self._create(request))
            except trouble.ServerFailed as error:
                await asyncio.wait([login])
                if not await self.transport.make_room(self):
                    raise
                why = f"it starts none beside the helper kernel (HTTP {error.fields['status']})"
                raise trouble.NotCarried(host=self.server.host, why=why) from None
            self.agent.id = self.kernel_id
            self.agent.python = self.transport.python[0] if self.transport.python else ""
            try:
                await self._enter(await self._attached(request), timeout)
            except errors.NotAttachable as error:
                if not await self._is_there():
                    raise self._given_up() from None
                why = f"its kernels are not where the helper kernel is ({error.fields['reason']})"
                raise trouble.NotCarried(host=self.server.host, why=why) from None

        await self._begin(work(), timeout)
        if self._is_ours:
            self.ends_with_us = True

    def _listen(self) -> None:
        sockets, self._sockets = self._sockets, {}
        self.streams.listen(sockets)

    def _take_keys(self, keys: Mapping[str, str] | None) -> None:
        super()._take_keys(keys)
        if self._keys is None:
            return
        if keys is not None:
            try:
                clients, kernel = _signer(self._keys), _signer(keys)
            except ValueError as error:
                raise errors.StrangeAgent(host=self.transport.host, what=str(error)) from None
            self.streams.rewriters = lambda: (Resigner(clients, kernel), Resigner(kernel, clients))
        self._listen()

    async def _have_server(self) -> None:
        """Have a JupyterHub start the server where it does not run. Raises one of `trouble`."""
        if await hub.is_away(self.server):
            with self._stages.stage(Stage.SERVER, limit=hub.START):
                await hub.start(
                    self.server, self._options, lambda said: self._update(progress=said)
                )

    async def _log_in(self, timeout: float) -> None:
        await super()._log_in(timeout)
        self._stages.at(Stage.LAUNCH)  # which has begun, and which may be what takes long

    async def _create(self, request: LaunchRequest) -> None:
        if not self.kernel_id:
            # Not ended with us: the server would start the kernel all the same.
            creating = sessions.find_or_create(self.server, request, self.log)
            self._creating = asyncio.create_task(creating)
            self._creating.add_done_callback(take_exception)
            self._take(await asyncio.shield(self._creating))

    def _take(self, found: sessions.Found) -> None:
        self.kernel_id, self._name, self._is_ours = found

    async def _attached(self, request: LaunchRequest) -> LaunchRequest:
        """What launches the agent of the kernel."""
        helper = self.transport.helper
        if helper is None:
            raise errors.ConnectionLost(host=self.transport.host, details="")
        directory = os.path.dirname(helper.connection_file)
        try:
            self._name = self._name or await self.server.kernel_name(self.kernel_id)
        except LookupError:
            raise trouble.NoServerKernel(
                id=self.kernel_id, host=self.server.host, url=self.server.address.url
            ) from None
        kernel: AttachedRequest = {
            **request["kernel"],
            "kernel_name": self._name,
            "display_name": self._name,
            "language": "",
            "connection_file": f"{directory}/kernel-{self.kernel_id}.json",
            # Nothing of these is for somebody else's kernel.
            "env": {},
            "literal_env": {},
            "local_env": {},
            "setup": [],
            "spec": None,
            "key": "",
        }
        return {**request, "id": self.kernel_id, "kernel": kernel, "session": ""}

    async def attach(self, sockets: Mapping[str, socket.socket], *, timeout: float) -> None:
        self.kernel_id = self.agent.id
        self.transport.hold(self)
        await super().attach(sockets, timeout=timeout)

    async def _restart(self, kernel: KernelRequest | None) -> None:
        await self._have_server()
        if self._died_by_itself:
            self._died_by_itself = False
            await self._ask_to_restart(None)
            with contextlib.suppress(TimeoutError):
                await within(REVIVED_WITHIN, self._wait_bound())
                return
        self._expects_exit = True
        try:
            await sessions.restart(self.server, self.kernel_id)
        except LookupError:
            self.is_gone = self._is_deleted = True
            raise self._gone_error() from None
        await super()._restart(None)

    async def _wait_bound(self) -> None:
        try:
            await self.server.while_there(self.kernel_id, super()._wait_bound())
        except LookupError:
            self.is_gone = self._is_deleted = True
            self._expects_exit = True  # it is told by what is raised
            self._on_exited(_unseen("its server gave it up"))
            raise self._given_up() from None

    async def _is_there(self) -> bool:
        """Whether its server has it; when not, that is for good. Raises one of `trouble`."""
        try:
            await self.server.ask("GET", "kernels", self.kernel_id)
        except LookupError:
            self.is_gone = self._is_deleted = True
        return not self.is_gone

    def _given_up(self) -> errors.KernelDied:
        name = self.facts["name"] if self.facts is not None else self._name
        server = self.server
        return trouble.ServerKernelDied(name=name, host=server.host, url=server.address.url)

    async def _give_up(self) -> None:
        if self._creating is not None:
            with contextlib.suppress(Exception):
                self._take(await within(END_WITHIN, self._creating))
        if self._is_ours:
            with contextlib.suppress(errors.SshpykError, LookupError, TimeoutError):
                await within(END_WITHIN, self._delete())
        self.ends_with_us = self._is_ours
        await super()._give_up()

    async def _ask_to_restart(self, kernel: KernelRequest | None) -> None:
        await super()._ask_to_restart(kernel)
        assert self.facts is not None
        if self.facts["exited"] is None:
            self._update(exited=None)  # no process id tells the one before from this
            self._show()

    # -- signals ---------------------------------------------------------------------------------

    async def signal(self, signum: int) -> None:
        if signum == signals.SIGINT:
            self._spawn(self._interrupt())
        elif signum in (signals.SIGTERM, signals.SIGKILL):
            # What comes next says what is meant: `end`, or `restart`, of which each is one request.
            self._expects_exit = True
            if self.exited is None:
                self._on_exited(_unseen(""))
        else:
            self.log.warning("! a Jupyter Server passes no signal on but an interrupt: %s", signum)

    async def _interrupt(self) -> None:
        was_idle = self.streams.watch_for_idle()
        backoff = Backoff()
        try:
            while True:
                try:
                    self.log.debug("> interrupt")
                    await self.server.ask("POST", "kernels", self.kernel_id, "interrupt")
                    self.log.debug("< interrupted")
                    return
                except (
                    trouble.ServerSilent,
                    trouble.ServerAway,
                    trouble.ServerRefused,
                ) as error:
                    # It may have come there: then a second would end another cell.
                    self.log.info("! %s", error.line)
                    await asyncio.sleep(backoff.pause())
                    await self._catch_up()
                    if was_idle():
                        return
        except (errors.SshpykError, LookupError) as error:
            self.log.warning("! the kernel could not be interrupted: %s", error)

    async def _catch_up(self) -> None:
        """Wait for the link, and then for a while until what the kernel has said is here."""
        for pause in LOOKS:
            if not (await self._requests.ask("state")).get("waiting"):
                return
            await asyncio.sleep(pause)

    def _on_shutdown(self, is_restart: bool) -> None:
        """A client has asked the kernel to end: its server would take that for a death, and start
        it again. So what is wanted is asked of the server."""
        self._expects_exit = True
        if is_restart:
            self._on_exited(_unseen(""))  # whoever asks for this starts it again next
        else:
            self._spawn(self._delete_and_say())

    async def _delete_and_say(self) -> None:
        await self._delete_patiently()
        self._on_exited(_unseen(""))

    def _on_exited(self, exited: Exit) -> None:
        if not self._expects_exit:
            self._died_by_itself = True
            self._spawn(self._look())
        super()._on_exited(exited)

    async def _look(self) -> None:
        """It ended by itself: see whether its server has it still."""
        for pause in LOOKS:
            await asyncio.sleep(pause)
            if not self._died_by_itself:
                return  # it is started again
            try:
                if await self._is_there():
                    continue
            except errors.SshpykError as error:
                self.log.info("! %s", error.line)
                continue
            self.log.warning("= its server has ended it")
            if self.exited is not None:
                self._update(exited={**self.exited, "note": "its server ended it"})
            return

    # -- the end ---------------------------------------------------------------------------------

    async def _dismantle(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        await super()._dismantle()
        self.transport.let_go(self)

    async def _close(self, wish: str) -> None:
        if self._is_deleted and self._connectivity.state is not State.GONE:
            self.is_gone = False  # its agent is there still, for nothing
            self.streams.let_clients_go()  # to hear of that it may take long
            wish = "end"
        elif self.is_gone and wish == "end":
            # Only its agent may be gone: the lease that has run out was ours, not the server's.
            with contextlib.suppress(TimeoutError):
                await within(END_WITHIN, self._delete_patiently())
        await super()._close(wish)

    async def _say_and_go(self, wish: str) -> None:
        if wish == "end" and not self.is_gone:
            await self._delete_patiently()
        await super()._say_and_go(wish)

    async def _delete_patiently(self) -> None:
        backoff = Backoff()
        while not self._is_deleted:
            try:
                await self._delete()
            except LookupError:
                return
            except trouble.ServerFailed as error:
                self.log.warning("! the kernel could not be ended: %s", error)
                return
            except errors.SshpykError as error:
                self._tell_trouble(error)
                is_for_person = isinstance(error, errors.NeedsPerson)
                await asyncio.sleep(FOR_A_PERSON if is_for_person else backoff.pause())

    async def _delete(self) -> None:
        async with self._deleting:  # a client may ask for it just when we do
            if not self._is_deleted:
                await self.server.ask("DELETE", "kernels", self.kernel_id, timeout=sessions.SLOW)
                self._is_deleted = True

    def _gone_error(self) -> errors.SshpykError:
        why = self.exited["note"] if self.exited is not None else ""
        return trouble.ServerKernelGone(host=self.server.host, why=why or "it was shut down")


def _signer(keys: Mapping[str, Any]) -> Signer:
    return Signer(keys["key"].encode("ascii"), keys["signature_scheme"])


def _unseen(note: str) -> Exit:
    return {"pid": 0, "code": None, "signum": None, "stderr": "", "note": note}
