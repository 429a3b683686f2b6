"""A host as this process sees it: its master, shared by all links, and jobs run there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from typing import Any

from .. import errors
from ..ssh.command import Destination
from ..ssh.master import Identity, Master
from ..wire.liveness import Backoff
from . import jobs

#: Sessions at once on one master, of this process. sshd allows ten (MaxSessions), and other
#: processes have theirs.
MOST_SESSIONS = 3

#: Seconds for a job that answers at once.
JOB_TIMEOUT = 30.0

#: Seconds for a login while reconnecting, when none was measured. Attempts are short, so that
#: one that began in a dead network does not delay the first in a live one.
LOGIN = 5.0

#: Seconds until the next login by ourselves where only a person can log in: hosts count failures,
#: and lock accounts and addresses for them. A master that somebody has made is seen at once.
PERSON = 300.0

#: Seconds between looks for a master that somebody else has made.
LOOK = 0.5


class Host:
    """One destination. All methods belong to the I/O thread."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.master = Master(destination)
        self.sessions = asyncio.Semaphore(MOST_SESSIONS)
        self.family = "unix"  # "tcp" once the server has refused to forward unix sockets
        self.reads_bytecode: dict[str, bool] = {}  # whether its Pythons read ours, by path
        self.heard_at = 0.0  # on the loop's clock, by any of the links
        self._attempt: asyncio.Task[Identity] | None = None
        self._question: asyncio.Task[bool] | None = None
        self._not_before = 0.0  # when the next attempt may begin, on the loop's clock
        self._backoff = Backoff()
        self._hurry = asyncio.Event()

    def node(self, name: str) -> Host:
        """The very machine `name` behind this host."""
        return host(replace(self.destination, node=name))

    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        """The attempt to get a master again, another than the one known to be `dead`.

        All links share one and the pause before it, so that the host sees one at a time however
        many kernels it has; who waits for it must not cancel it. It raises `HostError`, or
        `SettingsError`.
        """
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._try(dead))
            self._attempt.add_done_callback(_look_at)
        return self._attempt

    async def _try(self, dead: Identity | None) -> Identity:
        loop = asyncio.get_running_loop()
        while loop.time() < self._not_before and not self._hurry.is_set():
            found = self.master.identity()
            if found is not None and found != dead:
                return found
            left = min(LOOK, self._not_before - loop.time())
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), left)
        self._hurry.clear()
        begun = loop.time()
        try:
            login = max(LOGIN, 3 * self.master.connect_time)
            found = await self.master.ensure(dead=dead, timeout=login)
        except errors.NeedsPerson:
            self._not_before = loop.time() + PERSON
            raise
        except Exception:
            # From its beginning: after one that took long, the next comes at once.
            self._not_before = begun + self._backoff.pause()
            raise
        self._backoff.reset()
        return found

    def hurry(self) -> None:
        """There is reason to try again at once: the clock jumped."""
        self._hurry.set()

    async def answers(self) -> bool:
        """Whether the host says anything through the master that there is; all ask at once."""
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self.master.answers(timeout=LOGIN))
        return await asyncio.shield(self._question)

    async def ask(self, python: str, request: dict[str, Any]) -> dict[str, Any]:
        """Run a job there that answers once."""
        async with self.sessions:
            return await jobs.ask(self.master, python, request, timeout=JOB_TIMEOUT)


def _look_at(task: asyncio.Task[Identity]) -> None:
    """Those who waited have what it raised; nobody may be left who did."""
    if not task.cancelled():
        task.exception()


_hosts: dict[Destination, Host] = {}

# A forked child has an I/O thread of its own, and so needs hosts of its own.
os.register_at_fork(after_in_child=_hosts.clear)


def host(destination: Destination) -> Host:
    """The process's one `Host` for a destination; call it on the I/O thread."""
    if destination not in _hosts:
        _hosts[destination] = Host(destination)
    return _hosts[destination]
