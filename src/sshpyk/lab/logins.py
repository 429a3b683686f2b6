"""Logging in to a host with a person in the browser: what ssh asks, they answer.

A login belongs to the one connection to its host, so there is one at a time, however many pages
show it. Answers go from the request to ssh, and are kept nowhere but in the keyring, if asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..layout import printable
from ..ssh import askpass
from ..ssh.connect import connect_by, is_connected
from ..ssh.master import Master

if TYPE_CHECKING:
    from ..ssh.command import Destination

#: Seconds for all of a login; most hosts give up sooner.
PATIENCE = 600.0

#: Seconds that one that is over can still be asked for.
KEPT = 60.0

#: Bytes of a question.
LONGEST = 64 * 1024


@dataclass
class Question:
    """What ssh wants to know."""

    number: int
    text: str
    is_again: bool  # the same was asked before: the answer was wrong
    answer: asyncio.Future[str] = field(repr=False)  # as `askpass` takes it

    def to_json(self) -> dict[str, Any]:
        """The question for a page."""
        return {
            "number": self.number,
            "text": printable(self.text).strip(),
            "confirm": "yes/no" in self.text,
            "secret": "yes/no" not in self.text,  # a code may be seen by nobody, either
            "again": self.is_again,
            "can_keep": askpass.has_keyring() and askpass.is_secret(self.text),
        }


class Login:
    """One login; `changed` is called when there is something to tell."""

    def __init__(self, destination: Destination, changed: Callable[[], None]) -> None:
        self.id = secrets.token_hex(8)
        self.destination = destination
        self.question: Question | None = None
        self.error: errors.SshpykError | None = None
        self.is_over = False
        self._changed = changed
        self._asked: list[str] = []
        self.task = asyncio.ensure_future(self._run())
        self.task.add_done_callback(self._ended)

    def to_json(self) -> dict[str, Any]:
        """The login for a page."""
        return {
            "id": self.id,
            "host": self.destination.host,
            "question": None if self.question is None else self.question.to_json(),
            "error": None if self.error is None else self.error.to_json(),
            "over": self.is_over,
        }

    def answer(self, number: int, answer: str, *, keep: bool) -> bool:
        """Answer the question with that number; whether it is still being asked."""
        question = self.question
        if question is None or question.number != number or question.answer.done():
            return False
        question.answer.set_result(json.dumps({"answer": answer, "keep": keep}))
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Not in the task: one that is cancelled at once has never begun."""
        host = self.destination.host
        self.question = None
        self.is_over = True
        error = None if task.cancelled() else task.exception()
        if isinstance(error, errors.SshpykError):
            self.error = error
        elif task.cancelled() or isinstance(error, TimeoutError):
            self.error = errors.LoginNotFinished(host=host)
        elif error is not None:
            command = self.destination.for_people()
            self.error = errors.HostError(host=host, command=command, details=repr(error))
        self._changed()

    async def _run(self) -> None:
        await within(PATIENCE, self._log_in())

    async def _log_in(self) -> None:
        master = Master(self.destination)
        if await is_connected(master):
            return
        mode = askpass.BEHIND_SOCKET
        with askpass.environment(self.destination.host, mode) as environment:
            path = environment[askpass.SOCKET]
            server = await asyncio.start_unix_server(self._ask, path, limit=LONGEST)
            os.chmod(path, 0o600)  # and its directory is ours alone
            try:
                await connect_by(master, environment)
            finally:
                server.close()
                if self.question is not None:
                    self.question.answer.cancel()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question, from a program that ssh has started."""
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            text = str(json.loads(await reader.readline()))
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self.question = question = Question(len(self._asked), text, text in self._asked, future)
            self._asked.append(text)
            self._changed()
            # ssh may give up, and the program with it.
            gone = asyncio.ensure_future(reader.read())
            try:
                await asyncio.wait((question.answer, gone), return_when=asyncio.FIRST_COMPLETED)
                if question.answer.done() and not question.answer.cancelled():
                    writer.write(question.answer.result().encode())
                    await writer.drain()
            finally:
                gone.cancel()
                if self.question is question:
                    self.question = None
                    self._changed()


class Logins:
    """Those of a Jupyter Server, on whose loop it is used; `changed` is called with changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._logins: dict[str, Login] = {}

    def begin(self, destination: Destination) -> Login:
        """A login to `destination`: a new one, unless one is under way."""
        for login in self._logins.values():
            if login.destination == destination and not login.is_over:
                return login
        login = Login(destination, self._changed)
        self._logins[login.id] = login
        login.task.add_done_callback(lambda task: self._forget_later(login))
        return login

    def _forget_later(self, login: Login) -> None:
        asyncio.get_running_loop().call_later(KEPT, self._logins.pop, login.id, None)

    def find(self, identifier: str) -> Login | None:
        """The login with this id."""
        return self._logins.get(identifier)

    def now(self) -> list[dict[str, Any]]:
        """All that there are."""
        return [login.to_json() for login in self._logins.values()]
