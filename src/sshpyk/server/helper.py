"""A helper kernel on a Jupyter Server, as the client has it: the websocket, and programs by it.

The other end is `sshpyk.agent.helper`.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib.resources
import re
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import errors
from ..agent.helper import TARGET, Received, Sent
from ..aio import within
from ..transport.base import Program
from ..transport.package import without_words
from ..wire.liveness import Liveness
from . import trouble
from .channels import Channels
from .framing import FramingError, to_object
from .messages import make
from .pairs import Pairs

if TYPE_CHECKING:
    from .rest import Server

#: Bytes that wait to be sent to one program before its writer is to wait.
HIGH = 256 * 1024

#: Bytes of a program's stderr that are kept, and of one text of the helper's.
KEPT_STDERR = 64 * 1024
LONGEST = 4096

#: What the helper kernel runs; the same again has no effect.
CODE = """\
if "sshpyk_helper" not in globals():
    sshpyk_helper = {{"__name__": "sshpyk_helper"}}
    exec(compile({source!r}, "<sshpyk helper>", "exec"), sshpyk_helper)
    sshpyk_helper["helper"] = sshpyk_helper["main"](get_ipython().kernel)
"""
FACTS = 'sshpyk_helper["helper"].facts()'


class Helper:
    """A websocket to the helper kernel `id`; it is another once that has ended.

    `on_heard` is called whenever anything came, `identity` tells it from those before, and `era`
    is higher than those.
    """

    def __init__(
        self, server: Server, id: str, era: int, lease: float, on_heard: Callable[[], None]
    ) -> None:
        self.server = server
        self.id = id
        self.identity = era
        self.is_alive = False
        self.python = ""
        self.connection_file = ""
        self.why = ""  # it has ended, once it has
        self.programs: dict[str, HelperProgram] = {}
        self._lease = lease
        self._on_heard = on_heard
        self._session = uuid.uuid4().hex
        self._comm = uuid.uuid4().hex
        self._channels = Channels(self._on_message, self._heard, self.fail, self._has_room)
        self._loop = asyncio.get_running_loop()
        self._liveness = Liveness(self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._reads = 0
        self._pairs = Pairs()
        self._asked = ""  # the request that runs the helper's code
        self._facts: asyncio.Future[dict[str, Any]] = self._loop.create_future()

    async def open(self, *, timeout: float) -> None:
        """Connect, and have the helper's code run, in `timeout` seconds.

        Raises one of `trouble`; `LookupError` where there is no such kernel.
        """
        begun = self._loop.time()
        try:
            await self._channels.open(self.server, self.id, self._session, timeout=timeout)
            self.is_alive = True
            content = {
                "code": CODE.format(source=source()),
                "silent": True,
                "store_history": False,
                "user_expressions": {"facts": FACTS},
                "allow_stdin": False,
                "stop_on_error": True,
            }
            self._asked, parts = make("execute_request", content, session=self._session)
            self._channels.send("shell", parts)
            try:
                facts = await within(timeout - (self._loop.time() - begun), self._facts)
            except TimeoutError:
                raise trouble.NotCarried(
                    host=self.server.host, why="the helper kernel does not answer"
                ) from None
            self._take_facts(facts)
        except BaseException:
            self.close()
            raise
        era = {"era": self.identity, "lease": self._lease}
        self._send("comm_open", self._comm, era)
        self._send("comm_msg", self._comm, self._pairs.ask())
        self._watch()

    def _take_facts(self, facts: dict[str, Any]) -> None:
        """What the helper says of itself. Raises `NotCarried`."""
        python, path = facts.get("python"), facts.get("connection_file")
        for text in (python, path):
            is_path = isinstance(text, str) and text.isprintable() and text.startswith("/")
            if not is_path or len(text) > LONGEST:  # type: ignore[arg-type]  # it is a str
                raise trouble.NotCarried(
                    host=self.server.host, why="the helper kernel does not say where it is"
                )
        self.python, self.connection_file = str(python), str(path)

    def lend(self, lease: float) -> None:
        """Have the helper outlive our silence for so many seconds."""
        if lease > self._lease:
            self._lease = lease
            self._send("comm_msg", self._comm, {"lease": lease})

    # -- what is sent ----------------------------------------------------------------------------

    def _send(self, type: str, comm: str, data: dict[str, Any], *buffers: bytes) -> None:
        if self.is_alive and self._channels.is_open:
            content: dict[str, Any] = {"comm_id": comm, "data": data}
            if type == "comm_open":
                content["target_name"] = TARGET
            _, parts = make(type, content, session=self._session)
            self._channels.send("control", [*parts, *buffers])

    def begin(self, program: HelperProgram, command: str) -> None:
        """Have the helper run a program."""
        self.programs[program.id] = program
        self._send("comm_open", program.id, {"era": self.identity, "command": command})

    def write(self, program: HelperProgram, at: int, data: bytes) -> None:
        """Give a program bytes of its stdin."""
        self._send("comm_msg", program.id, {"at": at}, data)

    def tell(self, program: HelperProgram, got: int) -> None:
        """So much of a program's stdout was taken."""
        self._send("comm_msg", program.id, {"got": got})

    def end(self, program: HelperProgram) -> None:
        """Have the helper end a program that has not ended."""
        if self.programs.pop(program.id, None) is not None:
            self._send("comm_close", program.id, {})

    # -- what comes ------------------------------------------------------------------------------

    def _on_message(self, channel: str, parts: list[bytes]) -> None:
        """Raises `FramingError`, with which the websocket ends."""
        header = to_object(parts[0])
        type = header.get("msg_type")
        if channel == "shell" and type == "execute_reply":
            if to_object(parts[1]).get("msg_id") == self._asked and not self._facts.done():
                self._answered(to_object(parts[3]))
        elif channel == "control" and type == "comm_msg":
            self._of_comm(to_object(parts[3]), parts[4:])
        elif channel == "control" and type == "comm_close":
            content = to_object(parts[3])
            program = self.programs.pop(str(content.get("comm_id")), None)
            if program is not None:
                program.ended(content.get("data"))
        elif channel == "iopub" and type == "status":
            # The server's own word: the kernel can't say so.
            state = to_object(parts[3]).get("execution_state")
            if state in ("restarting", "autorestarting", "dead"):
                self.fail("the helper kernel died")
        elif channel == "iopub" and type == "shutdown_reply":
            self.fail("the helper kernel was shut down")

    def _answered(self, content: dict[str, Any]) -> None:
        """The helper's code has run."""
        found = content.get("user_expressions", {})
        answer = found.get("facts") if isinstance(found, dict) else None
        answer = answer if isinstance(answer, dict) else {}
        data = answer.get("data")
        text = data.get("text/plain", "") if isinstance(data, dict) else ""
        try:
            facts = ast.literal_eval(str(text)[: 4 * LONGEST])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            facts = None
        if isinstance(facts, dict):
            self._facts.set_result(facts)
            return
        said = re.sub(r"[^\x20-\x7e]", "", str(content.get("evalue") or answer.get("evalue") or ""))
        why = f"the helper kernel can't run our code: {said[:200] or 'it does not say why'}"
        self._facts.set_exception(trouble.NotCarried(host=self.server.host, why=why))

    def _of_comm(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        data = content.get("data")
        if not isinstance(data, dict):
            raise FramingError("a comm's message without data")
        comm = content.get("comm_id")
        if comm == self._comm and "ask" in data:
            self._send("comm_msg", self._comm, {"here": True})
        elif comm == self._comm and "pair" in data:
            said = self._pairs.came(data["pair"], self._reads, self._loop.time())
            if said is not None:
                self._send("comm_msg", self._comm, said)
        program = self.programs.get(str(comm))
        if program is None:
            return  # it was ended
        try:
            if "got" in data:
                program.sent.got(data["got"])
                program.pump()
            elif len(buffers) == 1:
                program.receive(data.get("at"), buffers[0])
            else:
                raise ValueError("a message without its bytes")
        except ValueError as error:
            # Something was lost, or it is not our helper: streams begin again from where they were.
            self.fail(f"the helper sent {error}")

    def _has_room(self) -> None:
        """Programs wait for the helper, and not for the websocket."""

    # -- whether it is there ---------------------------------------------------------------------

    def _heard(self) -> None:
        self._reads += 1
        self._liveness.heard(self._loop.time())
        self._on_heard()

    def _watch(self) -> None:
        """Ping in silence. Those are frames of the websocket: no kernel is active for them."""
        verdict = self._liveness.tick(self._loop.time())
        if verdict == "ping":
            self._channels.ping()
        elif verdict == "lost":
            self.fail("the server does not answer")
            return
        self._timer = self._loop.call_at(
            max(self._liveness.next_deadline(), self._loop.time() + 0.01), self._watch
        )

    def doubt(self) -> None:
        """The clock has jumped, or somebody wants it now: ping at once."""
        if self.is_alive and self._timer is not None:
            self._liveness.hurry(self._loop.time())
            self._timer.cancel()
            self._watch()

    def fail(self, why: str) -> None:
        """It is of no use any more: end it, and tell whoever uses it."""
        if self.why:
            return
        self.why = why
        self.is_alive = False
        if self._timer is not None:
            self._timer.cancel()
        self._channels.abort(why)
        if not self._facts.done():
            self._facts.set_exception(self.server.trouble_of(ConnectionResetError(why)))
            self._facts.exception()
        programs, self.programs = self.programs, {}
        for program in programs.values():
            program.lost(why)

    def close(self) -> None:
        """End the websocket."""
        self.fail("it was closed")


class HelperProgram(Program):
    """A program that the helper runs."""

    def __init__(self, helper: Helper, command: str) -> None:
        self.id = uuid.uuid4().hex
        self.sent = Sent()
        self._helper = helper
        self._host = helper.server.host
        self._received = Received()
        self._pieces: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._unsent: deque[memoryview] = deque()
        self._waiting = 0  # bytes there
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._pumping: asyncio.Handle | None = None
        self._status: int | None = None
        self._lost: str | None = None
        helper.begin(self, command)

    # -- for whoever runs it ---------------------------------------------------------------------

    async def read(self) -> bytes:
        while not self._pieces and not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._pieces:
            return b""
        data = self._pieces.popleft()
        told = self._received.take(len(data))
        if told is not None and not self._is_over:
            self._helper.tell(self, told)
        return data

    def write(self, data: bytes) -> None:
        if data and not self._is_over:
            self._unsent.append(memoryview(data))
            self._waiting += len(data)
            if self._waiting > HIGH:
                self._has_room.clear()
            if self._pumping is None:  # what is written together goes together
                self._pumping = asyncio.get_running_loop().call_soon(self.pump)

    async def drain(self) -> None:
        await self._has_room.wait()
        if self._is_over:
            raise BrokenPipeError(self._lost or "the program has ended")

    async def wait(self) -> int:
        while not self._is_over:
            self._arrived.clear()
            await self._arrived.wait()
        if self._status is None:
            raise errors.ConnectionLost(host=self._host, details=self._lost or "")
        return self._status

    def close(self) -> None:
        """End it, if it still runs."""
        self._helper.end(self)
        self.lost("it was ended")

    @property
    def _is_over(self) -> bool:
        return self._status is not None or self._lost is not None

    # -- for the helper --------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what waits, as far as the helper takes it."""
        self._pumping = None
        while self._waiting and not self._is_over and (room := self.sent.room()):
            size = 0
            parts: list[memoryview] = []
            while self._unsent and size < room:
                piece = self._unsent.popleft()
                if len(piece) > room - size:
                    self._unsent.appendleft(piece[room - size :])
                    piece = piece[: room - size]
                parts.append(piece)
                size += len(piece)
            self._waiting -= size
            self._helper.write(self, self.sent.send(size), b"".join(parts))
        if self._waiting <= HIGH:
            self._has_room.set()

    def receive(self, at: object, data: bytes) -> None:
        """Bytes of its stdout came. Raises ValueError."""
        self._received.receive(at, len(data))
        self._pieces.append(data)
        self._arrived.set()

    def ended(self, how: object) -> None:
        """It has ended by itself."""
        said = how if isinstance(how, dict) else {}
        status, stderr = said.get("status"), said.get("stderr")
        self.stderr = str(stderr or "").encode("utf-8", "replace")[-KEPT_STDERR:]
        self._status = status if type(status) is int else -1
        self._wake()

    def lost(self, why: str) -> None:
        """The way to it has ended."""
        if not self._is_over:
            self._lost = why
            self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._has_room.set()


@functools.cache
def source() -> str:
    """The helper's code, without what is for people."""
    file = importlib.resources.files("sshpyk") / "agent" / "helper.py"
    return without_words(file.read_text("utf-8"))


def choose_python(specs: dict[str, Any]) -> str:
    """The kernelspec for a helper, of those that a server has; empty where none will do."""

    def is_python(name: str) -> bool:
        spec = specs[name]["spec"]
        return str(spec.get("language", "")).lower() == "python"

    names = sorted(filter(is_python, specs), key=lambda name: (name != "python3", name))
    return names[0] if names else ""
