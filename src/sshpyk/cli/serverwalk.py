"""`sshpyk doctor` for a kernel on a Jupyter Server: the few steps of that way."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, replace
from typing import Any

from .. import errors
from ..jupyter import kernelspec
from ..server.address import ServerAddress
from .steps import Step, failed
from .terminal import BAD, GOOD, INFO, UNKNOWN, WARNING, Terminal, clean

Steps = Coroutine[Any, Any, list[Step]]


class ServerWalk:
    """The way to the server at `address`, and to the kernel `spec` if there is one.

    The same to its caller as `walk.Walk`.
    """

    def __init__(
        self, address: ServerAddress, spec: kernelspec.LocalSpec | None, *, launch: bool
    ) -> None:
        self.address = address
        self.spec = spec
        self.launch = launch
        self.title = f"{spec.name} on {address.host}" if spec else address.host
        self.found: list[Step] = []
        self._server: Any = None

    @property
    def is_bad(self) -> bool:
        """Whether any step failed."""
        return any(step.mark == BAD for step in self.found)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "host": self.address.host,
            "kernel": self.spec.name if self.spec else None,
            "ok": not self.is_bad,
            "steps": [asdict(step) for step in self.found],
        }

    def steps(self, terminal: Terminal) -> Iterator[Step]:
        """Walk, and yield each `Step` when it is done."""
        from . import wait_for

        way: list[tuple[str, Callable[[], Steps]]] = [
            ("Server", self._reach),
            ("Login", self._login),
            ("Remote Kernel Name", self._kernelspec),
            ("Kernels", self._kernels),
        ]
        goes_on = True
        try:
            for what, step in way:
                begun = time.monotonic()
                steps = [Step(UNKNOWN, what, "not checked")]
                if goes_on:
                    with terminal.busy(f"{self.address.host}: {what} …"):
                        try:
                            steps = wait_for(step())
                        except errors.SshpykError as error:
                            steps = [failed(what, error)]
                    goes_on = all(s.mark in (GOOD, INFO) for s in steps)
                    steps[-1] = replace(steps[-1], seconds=time.monotonic() - begun)
                yield from self._done(steps)
        finally:
            if self._server is not None:
                wait_for(self._server.leave())
        if not self.launch or self.spec is None or self.is_bad:
            why = "not asked for" if not self.launch else "there is nothing to start"
            yield from self._done([Step(UNKNOWN, "Trial Launch", why)])
            return
        with terminal.busy(f"{self.address.host}: starting a kernel as a trial …"):
            from .trial import trial

            steps = trial(self.spec.content)
        yield from self._done(steps)

    def _done(self, steps: list[Step]) -> list[Step]:
        self.found += steps
        return steps

    async def _reach(self) -> list[Step]:
        """Whether it is there; nothing is started."""
        from ..server import hub, through
        from ..server.rest import Server

        there = self.address.through
        if self.address.is_binders:
            text = "a start of a kernel has the Binder make one"
            return [Step(WARNING, "Server", text)]
        server = Server(self.address)
        if there is not None:
            if through.meant(there, await through.ask(there)) is None:
                text = "none runs there; a start of a kernel starts one"
                return [Step(WARNING, "Server", text)]
            await server.arrive()
            self._server = server
            return [Step(GOOD, "Server", f"{server.found}, through {there.destination.host}")]
        if await hub.is_away(server):
            text = "it does not run; a start of a kernel has its JupyterHub start it"
            return [Step(WARNING, "Server", text)]
        self._server = server
        try:
            answer = await server.ask("GET")
        except (LookupError, errors.NeedsPerson):
            answer = None  # gateways tell it to those alone who have logged in
        version = answer.get("version") if isinstance(answer, dict) else None
        return [Step(GOOD, "Server", clean(f"Jupyter Server {version or ''}".strip())[:100])]

    async def _login(self) -> list[Step]:
        await self._server.kernelspecs()
        return [Step(GOOD, "Login", f"it accepts {self._server.shows}")]

    async def _kernelspec(self) -> list[Step]:
        names = sorted(await self._server.kernelspecs())
        shown = clean(", ".join(names))[:1000]
        wanted = self.spec.config.get("remote_kernel_name") if self.spec is not None else None
        if wanted is None:
            return [Step(INFO, "Kernelspecs", shown)]
        if wanted in names:
            return [Step(GOOD, "Remote Kernel Name", str(wanted))]
        text = f"there is no kernelspec {wanted}; there are: {shown}"
        assert self.spec is not None
        fix = f"sshpyk edit {self.spec.name} --remote-kernel-name KERNELSPEC"
        return [Step(BAD, "Remote Kernel Name", text, fix)]

    async def _kernels(self) -> list[Step]:
        wanted = self.spec.config.get("server_kernel_id") if self.spec is not None else None
        kernels = await self._server.kernels(*([str(wanted)] if wanted else []))
        if wanted and not any(kernel["id"] == wanted for kernel in kernels):
            return [Step(WARNING, "Kernel", f"{wanted} is not there")]
        return [Step(INFO, "Kernels", f"{len(kernels)} run there, as far as it tells")]
