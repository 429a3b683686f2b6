"""When a transport tries again: one attempt at a time for all links, and the pauses between."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING

from .. import errors
from ..aio import take_exception, within
from ..wire.liveness import Backoff, Patience
from .base import Identity, Transport

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from .entrance import Entrance

#: Seconds until the next login by ourselves where only a person can log in: hosts count failures,
#: and lock accounts and addresses for them; some commands open a browser each time.
PERSON = 300.0


class Reconnecting(Transport):
    """A transport that tries again by itself; a subclass says what an attempt is."""

    #: The share of its time from which an attempt counts as one that ran out of it.
    all_of_it = 0.9

    def __init__(self, destination: Destination | Entrance | Allocation | ServerAddress) -> None:
        super().__init__(destination)
        self._attempt: asyncio.Task[Identity] | None = None
        self._question: asyncio.Task[bool] | None = None
        self._not_before = 0.0  # when the next attempt may begin, on the loop's clock
        self._backoff = Backoff()
        self._patience = Patience()
        self._hurry = asyncio.Event()

    # -- what a subclass does --------------------------------------------------------------------

    @abstractmethod
    async def _connect_anew(self, dead: Identity | None, timeout: float) -> Identity:
        """Get a connection, another than the one known to be `dead`, within `timeout` seconds."""

    async def _prepare(self, dead: Identity | None) -> Identity | None:
        """What has to be there before, in time of its own; a connection, where that brought one."""
        return None

    def _took(self) -> float:
        """Seconds that the last login took."""
        return 0.0

    @abstractmethod
    async def _answers(self) -> bool:
        """`answers`, once for all who ask meanwhile."""

    async def _pause(self, dead: Identity | None) -> Identity | None:
        """Wait until the next attempt may begin; a connection, where somebody else made one."""
        left = self._not_before - asyncio.get_running_loop().time()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                await within(left, self._hurry.wait())
        return None

    # -- what all do -----------------------------------------------------------------------------

    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._reconnect(dead))
            self._attempt.add_done_callback(take_exception)
        return self._attempt

    async def _reconnect(self, dead: Identity | None) -> Identity:
        loop = asyncio.get_running_loop()
        found = await self._pause(dead)
        if found is not None:
            return found
        self._hurry.clear()
        begun = loop.time()
        timeout = self._patience.next(self._took())
        try:
            found = await self._prepare(dead)
            if found is not None:
                return found
            begun = loop.time()
            found = await self._connect_anew(dead, timeout)
        except errors.NeedsPerson:
            self._wait_for_person()
            raise
        except Exception:
            # From its beginning: after one that took long, the next comes at once.
            self._not_before = begun + self._backoff.pause()
            if loop.time() - begun > self.all_of_it * timeout:
                self._patience.ran_out()
            raise
        self._backoff.reset()
        self._patience.reset()
        return found

    def _wait_for_person(self) -> None:
        """Make the next attempt late."""
        self._not_before = asyncio.get_running_loop().time() + PERSON

    @property
    def next_try(self) -> float | None:
        now = asyncio.get_running_loop().time()
        waits = self._attempt is not None and now < self._not_before
        return self._not_before if waits else None

    def hurry(self) -> None:
        self._hurry.set()

    async def answers(self) -> bool:
        if self._question is None or self._question.done():
            self._question = asyncio.create_task(self._answers())
        return await asyncio.shield(self._question)


class Connected(Reconnecting):
    """A transport that holds the connection itself; one attempt at a time makes it, for all who
    ask."""

    def __init__(self, destination: Destination | Entrance | Allocation | ServerAddress) -> None:
        super().__init__(destination)
        self._connecting: asyncio.Task[Identity] | None = None
        self._connect_time = 0.0

    # -- what a subclass does --------------------------------------------------------------------

    @abstractmethod
    async def _connect(self, timeout: float) -> Identity:
        """Make the connection, in place of one that may still be there."""

    @abstractmethod
    def _used(self) -> None:
        """It is in use, or was just now."""

    # -- what all do -----------------------------------------------------------------------------

    async def ensure(self, *, timeout: float) -> Identity:
        try:
            return await self._connect_anew(None, timeout)
        except errors.NeedsPerson:
            self._wait_for_person()
            raise

    async def _connect_anew(self, dead: Identity | None, timeout: float) -> Identity:
        found = self.identity()
        if found is not None and found != dead:
            self._used()
            return found
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect_once(timeout))
            self._connecting.add_done_callback(take_exception)
        return await asyncio.shield(self._connecting)

    async def _connect_once(self, timeout: float) -> Identity:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        found = await self._connect(timeout)
        self._connect_time = loop.time() - begun
        if loop.time() < self._not_before:
            self._hurry.set()  # whoever waits for the next attempt need not
        self._not_before = 0.0
        self._used()
        return found

    def _took(self) -> float:
        return self._connect_time
