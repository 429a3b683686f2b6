"""Peers that do as a test tells them: an agent, and a transport to it. No process, no sshd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sshpyk.agent.boot import MAGIC
from sshpyk.common.peers import proof
from sshpyk.link.address import AgentAddress
from sshpyk.ssh.command import Destination
from sshpyk.transport.base import Dialer, Identity, Listening, Login, Program, Transport
from sshpyk.wire.attachment import Attachment
from sshpyk.wire.carrier import Carrier
from sshpyk.wire.channels import AGENT, CHANNELS
from sshpyk.wire.frames import HELLO, REFUSED, WELCOME, Frame
from sshpyk.wire.stream import Stream

if TYPE_CHECKING:
    from sshpyk.wire.frames import Data

TOKEN = "token" * 8

FACTS: dict[str, Any] = {
    "pid": 100,
    "bound": True,
    "exited": None,
    "name": "scripted",
    "display_name": "Scripted",
    "language": "none",
    "interrupt_mode": "signal",
    "cwd": "/",
    "home": "/",
    "curve": False,
}

MACHINE = {"host": "node1", "boot_id": "boot1"}

EXIT = {"pid": 100, "code": 1, "signum": None, "stderr": "oops", "note": ""}


class ScriptedAgent:
    """Listens on a unix socket a channel in `directory`; what clients send to the kernel it sends
    back. `requests` are the control messages that came; `facts` what it says of its kernel."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.facts = dict(FACTS)
        self.requests: list[dict[str, Any]] = []
        self.heard = asyncio.Event()
        self.answers_requests = True
        self.welcomes = True  # as an agent that knows the token
        self.says_first: list[tuple[str, dict[str, Any]]] = []  # to each new attachment
        self.attachments: dict[str, Attachment] = {}
        self.connections: list[AgentConnection] = []
        self.connections_changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []

    @property
    def listening(self) -> dict[str, str | int]:
        return {channel: str(self.directory / channel) for channel in (*CHANNELS, AGENT)}

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for path in self.listening.values():
            Path(str(path)).unlink(missing_ok=True)
            self._servers.append(
                await loop.create_unix_server(lambda: AgentConnection(self), str(path))
            )

    def close(self) -> None:
        """Listen no more, and end all connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.cut()

    def cut(self) -> None:
        """End all connections; new ones may come."""
        for connection in list(self.connections):
            connection.abort()

    async def has_connections(self, count: int) -> None:
        """Wait until there are so many."""
        while len(self.connections) != count:
            self.connections_changed.clear()
            await self.connections_changed.wait()

    def forget(self) -> None:
        """Know none of the attachments any more, as after a lease."""
        self.attachments.clear()
        self.cut()

    def push(self, type: str, **fields: Any) -> None:
        """Tell all clients something."""
        for attachment in self.attachments.values():
            attachment.send_message(type, asyncio.get_running_loop().time(), **fields)

    def received(self, attachment: Attachment, message: dict[str, Any]) -> None:
        self.requests.append(message)
        self.heard.set()
        if not self.answers_requests:
            return
        result = self.facts if message["type"] in ("state", "start") else {}
        now = asyncio.get_running_loop().time()
        attachment.send_message("done", now, number=message["number"], result=result)

    async def was_told(self, type: str) -> dict[str, Any]:
        """The first request of this type, when it has come."""
        while True:
            for request in self.requests:
                if request["type"] == type:
                    return request
            self.heard.clear()
            await self.heard.wait()


class AgentConnection(asyncio.Protocol):
    """One connection of a client, as the wire's core wants it."""

    def __init__(self, agent: ScriptedAgent) -> None:
        self.agent = agent
        self.carrier = Carrier(self, 1 << 20)
        self.attachment: Attachment | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.agent.connections.append(self)
        self.agent.connections_changed.set()

    def data_received(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        frames = self.carrier.feed(data)
        if self.attachment is None:
            hello = frames.pop(0)
            assert hello.type == HELLO
            self._greet(json.loads(bytes(hello.payload)), now)
        if self.attachment is not None:
            self.attachment.receive(self.carrier, frames, now)

    def _greet(self, hello: dict[str, Any], now: float) -> None:
        attachment = self.agent.attachments.get(hello["attachment"])
        if attachment is None:
            if hello["known"]:
                self.send([Frame(REFUSED, payload=b"an attachment that is no more").encode()])
                self.close()
                return
            handler = Handler(self.agent)
            attachment = Attachment(hello["attachment"], handler, is_client=False)
            handler.attachment = self.agent.attachments[attachment.id] = attachment
            for type, fields in self.agent.says_first:
                attachment.send_message(type, now, **fields)
        self.attachment = attachment
        token = TOKEN if self.agent.welcomes else "another"
        attachment.forget_before(hello["oldest"], now)
        attachment.add(self.carrier)
        self.carrier.send(Frame(WELCOME, payload=proof(token, hello["nonce"])))

    def send(self, parts: list[Data]) -> bool:
        if self._transport is not None:
            self._transport.write(b"".join(parts))
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return self._transport is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.agent.connections.remove(self)
        self.agent.connections_changed.set()
        if self.attachment is not None:
            self.attachment.lose(self.carrier, asyncio.get_running_loop().time())


class Handler:
    """The kernel's side: what comes goes back."""

    def __init__(self, agent: ScriptedAgent) -> None:
        self.agent = agent
        self.attachment: Attachment

    def deliver(self, stream: Stream, now: float) -> None:
        while stream.peek():
            data = bytes(stream.peek())
            stream.consume(len(data), now)
            stream.write(data)
        if stream.peer_closed:
            stream.close()

    def message(self, message: dict[str, Any]) -> None:
        self.agent.received(self.attachment, message)

    def over(self, stream: Stream) -> None:
        pass


class ScriptedProgram(Program):
    """Answers a job: with `answers` at once, and with what `replies` has for a line it is told."""

    def __init__(self, answers: list[dict[str, Any]], replies: dict[bytes, dict[str, Any]]) -> None:
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._replies = replies
        for answer in answers:
            self._say(answer)

    def _say(self, answer: dict[str, Any]) -> None:
        self._answers.put_nowait(b"\n" + MAGIC + json.dumps(answer).encode() + b"\n")

    async def read(self) -> bytes:
        return await self._answers.get()

    def write(self, data: bytes) -> None:
        if data in self._replies:
            self._say(self._replies[data])

    async def drain(self) -> None:
        pass

    async def wait(self) -> int:
        return 0


class ScriptedSession(ScriptedProgram):
    """One that carries, once it has answered, as what it was told ahead asks for."""

    def __init__(self, agent: ScriptedAgent, answers: list[dict[str, Any]]) -> None:
        super().__init__(answers, {})
        self.carried = AgentConnection(agent)
        self.is_over = False
        self._has_begun = False

    async def read(self) -> bytes:
        said = b"" if self.is_over else await super().read()
        self.is_over = not said
        return said

    def write(self, data: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            request = json.loads(data[data.index(b'{"do"') :].split(b"\n")[0])
            self.carried.connection_made(Said(self._answers))
            data = zlib.decompress(bytes.fromhex(request["carrier"]))
        self.carried.data_received(data)

    def end_input(self) -> None:
        self.carried.close()
        self.cut()

    def cut(self) -> None:
        """The session breaks."""
        if self.carried.is_there:
            self.carried.connection_lost(None)
            self._answers.put_nowait(b"")


class Said(asyncio.Transport):
    """What is written is said by a program."""

    def __init__(self, said: asyncio.Queue[bytes]) -> None:
        super().__init__()
        self._said = said

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        said = json.dumps({"carried": bytes(data).hex()})
        self._said.put_nowait(b"noise\n" + MAGIC + said.encode() + b"\nnoise")

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class ScriptedDialer(Dialer):
    """To the sockets of an agent."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self.is_closed = False

    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(protocol, str(self.listening[channel]))

    async def close(self) -> None:
        self.is_closed = True


class ScriptedTransport(Transport):
    """`troubles` are raised by the attempts to connect, one after another; `defects` by dialling,
    where None is no way.

    `jobs` has the answers of each job. `calls` counts.
    """

    def __init__(self, host: str = "scripted") -> None:
        super().__init__(Destination(host))
        self.troubles: list[Exception] = []
        self.defects: list[Exception | None] = []
        self.jobs: list[list[dict[str, Any]]] = []
        self.replies: dict[bytes, dict[str, Any]] = {b"attached\n": {"attached": True}}
        self.dialers: list[ScriptedDialer] = []
        self.nodes: dict[str, ScriptedTransport] = {}
        self.carries: ScriptedAgent | None = None  # by the session of the next launch
        self.sessions: list[ScriptedSession] = []
        self.forgotten = 0
        self.hurried = asyncio.Event()
        self.attempted = asyncio.Event()
        self.delay = 0.0  # seconds before an attempt...
        self.pause = 0.0  # ...and what it is after a trouble
        self.hangs = False  # whether a login never ends
        self._number = 0

    @property
    def login(self) -> Login:
        return Login(f"enter {self.host}", f"log in to {self.host}", "copy", "ask")

    def identity(self) -> Identity | None:
        return self._number

    async def ensure(self, *, timeout: float) -> Identity:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.troubles:
            self.delay = self.pause
            raise self.troubles.pop(0)
        self._number += 1
        return self._number

    def reconnect(self, dead: Identity | None) -> asyncio.Task[Identity]:
        async def attempt() -> Identity:
            if self.delay:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.hurried.wait(), self.delay)
            self.attempted.set()
            return await self.ensure(timeout=1.0)

        self.hurried.clear()
        task = asyncio.get_running_loop().create_task(attempt())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def hurry(self) -> None:
        self.hurried.set()

    async def answers(self) -> bool:
        return True

    @property
    def next_try(self) -> float | None:
        return asyncio.get_running_loop().time() + self.delay if self.delay else None

    @contextlib.asynccontextmanager
    async def run(self, command: str, *, is_lasting: bool = False) -> AsyncIterator[Program]:
        answers = self.jobs.pop(0) if self.jobs else []
        if self.carries is None:
            yield ScriptedProgram(answers, self.replies)
            return
        session = ScriptedSession(self.carries, answers)
        self.carries, self.sessions = None, [*self.sessions, session]
        try:
            yield session
        finally:
            session.cut()

    @property
    def knows_way(self) -> bool:  # type: ignore[override]  # as long as the script says so
        return self.carries is not None

    def forget_way(self) -> None:
        self.forgotten += 1

    async def dialer(self, listening: Listening) -> Dialer | None:
        if self.defects:
            defect = self.defects.pop(0)
            if defect is None:
                return None
            raise defect
        self.dialers.append(ScriptedDialer(listening))
        return self.dialers[-1]

    @property
    def family(self) -> str:
        return "unix"

    async def way(self) -> str:
        return "a script"

    def refused(self, family: str) -> str:
        raise NotImplementedError

    def reached(self, family: str) -> None:
        pass

    def unreached(self) -> None:
        pass

    def node(self, name: str) -> ScriptedTransport:
        return self.nodes[name]


def local_sockets(directory: Path) -> dict[str, socket.socket]:
    """Bound sockets for Jupyter's clients, called local-CHANNEL."""
    sockets = {}
    for channel in CHANNELS:
        sock = sockets[channel] = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.bind(str(directory / f"local-{channel}"))
    return sockets


def address_of(agent: ScriptedAgent) -> AgentAddress:
    """Where the agent is."""
    address = AgentAddress("agent-1", TOKEN, "python3")
    address.found(MACHINE, agent.listening)
    return address
