"""The job "relay": connections to the agents of this user on this host, over stdin and stdout.

It answers {"relay": true}. From then on stdin and stdout carry the frames of `sshpyk.wire.mux`; the
client says nothing before. It runs once for all kernels of a client, and ends with its pipe: agents
and kernels go on, as they do when any connection to them ends.

It connects to nothing but the sockets of agents of this user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from _socket import AF_INET, AF_UNIX

from ..common.peers import is_taken, listener_uid
from ..common.sockets import Socket
from ..wire.channels import AGENT, CHANNELS
from ..wire.frames import ProtocolError
from ..wire.mux import CHUNK, CLOSE, DATA, OPEN, Mux
from .boot import answer, describe_defect
from .loop import READ, WRITE, Connection, Loop
from .records import SOCKETS, all_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Set, Tuple

#: Bytes read from the pipe at once.
READ_SIZE = 256 * 1024

#: What the pipe to the client has room for, on Linux: each time that it is full, both ends wait for
#: the other to have its turn.
PIPE_SIZE = 256 * 1024
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which Python 3.8 does not know

#: Bytes of one agent's that wait for the pipe before it is read no further.
MOST_WAITING = 2 * CHUNK

#: Connections at once: 20 kernels' many times over, and less than a process may have open files.
MOST_CONNECTIONS = 900

#: Seconds without a word after which the client is gone for good: it pings every few seconds, and
#: a network that vanished may leave a pipe without an end. One that comes back begins another.
SILENT = 3600.0


class Forbidden(Exception):
    """No relay of ours connects there; the text says why."""


def dial(address: str) -> Tuple[Socket, bool]:
    """A socket for where an agent of this user listens, and whether it is connected by now.

    `address` is a path, or a port of loopback in digits. Raises `Forbidden` where no such agent
    listens, and OSError where none takes the connection.
    """
    if address.isascii() and address.isdigit():
        return _dial_port(int(address))
    return _dial_path(address), True


def _dial_path(path: str) -> Socket:
    directory, name = os.path.split(path)
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise Forbidden("no path of an agent's socket")
    if name not in [channel + ".sock" for channel in (*CHANNELS, AGENT)]:
        raise Forbidden("no name of an agent's socket")
    # Where neither /tmp nor $TMPDIR will do, they are hidden in the home directory.
    if not os.path.basename(directory).lstrip(".").startswith(SOCKETS):
        raise Forbidden("no directory of an agent's sockets")
    # What is looked at must be what is connected to, whatever others rename meanwhile: so the
    # directory is opened once, and nobody else can change what is in it.
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        parent = os.fstat(opened)
        if parent.st_uid != os.getuid() or parent.st_mode & 0o077:
            raise Forbidden("a directory that is not this user's alone")
        os.fchdir(opened)
        try:
            return _connect_here(name)
        finally:
            os.chdir("/")  # where a process that stays hinders nobody
    finally:
        os.close(opened)


def _connect_here(name: str) -> Socket:
    found = os.lstat(name)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
        raise Forbidden("no socket of this user's")
    sock = Socket(AF_UNIX)
    try:
        sock.setblocking(False)
        sock.connect(name)
        if listener_uid(sock) not in (None, os.getuid()):
            raise Forbidden("another user listens there")
    except BaseException:
        sock.close()
        raise
    return sock


def _dial_port(port: int) -> Tuple[Socket, bool]:
    address = ("127.0.0.1", port)
    if not any(port in _ports(record) for record in all_records()) or is_taken(address):
        raise Forbidden("no port of an agent of this user")
    sock = Socket(AF_INET)
    sock.setblocking(False)
    problem = sock.connect_ex(address)
    if problem not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(problem, os.strerror(problem))
    return sock, not problem


def _ports(record: Dict[str, Any]) -> Any:
    listening = record.get("listening")
    return listening.values() if isinstance(listening, dict) else ()


class AgentConnection(Connection):
    """A connection to an agent's socket, and its end of one of the mux's connections."""

    def __init__(self, relay: Relay, id: int, sock: Socket, *, is_connected: bool) -> None:
        self._relay = relay
        self.id = id
        self._is_ending = False  # the client has closed; what it sent before still goes out
        self._unconsumed = 0
        super().__init__(relay.loop, sock, is_connected=is_connected)

    def deliver(self, data: bytes) -> None:
        """Give the agent what came from the client."""
        self._unconsumed += len(data)
        self.send([data])
        self._consume()

    def on_writable(self) -> None:
        self._consume()
        if self._is_ending:
            self.close()

    def _consume(self) -> None:
        if not self.is_blocked and not self.is_closed:
            self._relay.mux.consumed(self.id, self._unconsumed)
            self._unconsumed = 0
            self._relay.pump()

    def end(self) -> None:
        """The client has closed."""
        self._is_ending = True
        self.read(False)
        if not self.is_blocked:
            self.close()

    def on_data(self, data: bytes) -> None:
        self._relay.mux.write(self.id, data)
        self._relay.pump()
        if self._relay.mux.waiting(self.id) >= MOST_WAITING:
            self.read(False)
            self._relay.held.add(self)

    def on_closed(self) -> None:
        self._relay.ended(self)


class Relay:
    """The pipe to the client, `source` and `sink`, and the connections to agents."""

    def __init__(self, source: int, sink: int, silent: float = SILENT) -> None:
        self.loop = Loop(self._tick, self._defect)
        self.mux = Mux(is_client=False)
        self.held: Set[AgentConnection] = set()  # not read, for too much of theirs waits
        self._source = source
        self._sink = sink
        self._connections: Dict[int, AgentConnection] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._unsent: Any = b""  # of what the mux has given
        self._waits = False  # whether the pipe takes nothing now
        self._heard = self.loop.now()
        self._silent = silent
        for pipe in (source, sink):
            os.set_blocking(pipe, False)
        try:
            fcntl.fcntl(sink, SET_PIPE_SIZE, PIPE_SIZE)
        except OSError:
            pass  # it is no pipe, or there is no such thing here

    def run(self) -> None:
        """Serve until the pipe ends."""
        self.loop.watch(self._source, READ, self._on_readable)
        self.loop.run()
        for connection in self._connections.values():
            connection.close()

    def _tick(self, now: float) -> float:
        if now >= self._heard + self._silent:
            self.loop.running = False
        return self._heard + self._silent

    def _defect(self) -> None:
        self._fail(describe_defect())

    def _fail(self, why: str) -> None:
        """Say why on stderr, and end: the client begins another."""
        os.write(2, why.encode("utf-8", "replace") + b"\n")
        self.loop.running = False

    # -- from the client -------------------------------------------------------------------------

    def _on_readable(self, events: int) -> None:
        try:
            size = os.readv(self._source, [self._buffer])
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.loop.running = False
            return
        self._heard = self.loop.now()
        try:
            found = self.mux.receive(bytes(self._buffer[:size]))
        except ProtocolError as error:
            self._fail(f"the client sent {error}")
            return
        for event in found:
            if event.type == OPEN:
                self._open(event.connection, event.payload)
                continue
            connection = self._connections.get(event.connection)
            if connection is None:
                continue  # its agent has closed
            if event.type == DATA:
                connection.deliver(event.payload)
            elif event.type == CLOSE:
                del self._connections[connection.id]
                self.held.discard(connection)
                connection.end()
        self.pump()

    def _open(self, id: int, payload: bytes) -> None:
        try:
            if len(self._connections) >= MOST_CONNECTIONS:
                raise Forbidden(f"more than {MOST_CONNECTIONS} connections")
            sock, is_connected = dial(payload.decode("utf-8"))
        except (Forbidden, ValueError, OverflowError) as error:
            self.mux.abort(id, str(error))
        except OSError as error:
            self.mux.abort(id, error.strerror or "it can't be reached")
        else:
            connection = AgentConnection(self, id, sock, is_connected=is_connected)
            self._connections[id] = connection

    # -- to the client ---------------------------------------------------------------------------

    def ended(self, connection: AgentConnection) -> None:
        """An agent has closed a connection; what it sent before still reaches the client."""
        self.held.discard(connection)
        if self._connections.pop(connection.id, None) is not None:
            self.mux.close(connection.id)
            self.pump()

    def pump(self) -> None:
        """Give the pipe what it takes, and read on where little waits by now."""
        while not self._waits:
            if not self._unsent:
                self._unsent = memoryview(self.mux.next())
                if not self._unsent:
                    break
            try:
                sent = os.write(self._sink, self._unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.loop.running = False  # the client has gone
                return
            if sent < len(self._unsent):
                self._wait(True)
            self._unsent = self._unsent[sent:]
        for connection in [one for one in self.held if self.mux.waiting(one.id) < MOST_WAITING]:
            self.held.discard(connection)
            connection.read(True)

    def _wait(self, waits: bool) -> None:
        self._waits = waits
        self.loop.watch(self._sink, WRITE if waits else 0, self._on_writable)

    def _on_writable(self, events: int) -> None:
        self._wait(False)
        self.pump()


def run(request: Dict[str, Any]) -> None:
    """Do the job."""
    answer(relay=True)
    # Where whoever runs it watches over it, and the client sends nothing while nothing happens.
    Relay(0, 1, float("inf") if request.get("is_watched") else SILENT).run()
