"""The job "relay": connections to the agents of this user on this host, over stdin and stdout.

It answers {"relay": true}. From then on stdin and stdout carry the frames of `sshpyk.wire.mux`; the
client says nothing before. It runs once for all kernels of a client, and ends with its pipe: agents
and kernels go on, as they do when any connection to them ends.

It connects to nothing but the sockets of agents of this user, in their private directories.
"""

from __future__ import annotations

import os
import stat

from ..common.sockets import Socket
from ..wire.channels import AGENT, CHANNELS
from ..wire.frames import ProtocolError
from ..wire.mux import CHUNK, CLOSE, DATA, OPEN, Mux
from .boot import answer, describe_defect
from .kernel import connect
from .loop import READ, WRITE, Connection, Loop
from .records import SOCKETS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

#: Bytes read from the pipe at once.
READ_SIZE = 256 * 1024

#: Bytes of one agent's that wait for the pipe before it is read no further.
MOST_WAITING = 2 * CHUNK

#: Connections at once: 20 kernels' many times over, and less than a process may have open files.
MOST_CONNECTIONS = 900


class Forbidden(Exception):
    """No relay of ours connects there; the text says why."""


def check(path: str) -> None:
    """Raise `Forbidden` unless `path` is where an agent of this user listens, and OSError where
    nothing is."""
    directory, name = os.path.split(path)
    if not os.path.isabs(path) or os.path.normpath(path) != path:
        raise Forbidden("no path of an agent's socket")
    if name not in [channel + ".sock" for channel in (*CHANNELS, AGENT)]:
        raise Forbidden("no name of an agent's socket")
    # Where neither /tmp nor $TMPDIR will do, they are hidden in the home directory.
    if not os.path.basename(directory).lstrip(".").startswith(SOCKETS):
        raise Forbidden("no directory of an agent's sockets")
    parent, socket = os.lstat(directory), os.lstat(path)
    is_private = parent.st_uid == os.getuid() and not parent.st_mode & 0o077
    if not stat.S_ISDIR(parent.st_mode) or not is_private:
        raise Forbidden("a directory that is not this user's alone")
    if not stat.S_ISSOCK(socket.st_mode) or socket.st_uid != os.getuid():
        raise Forbidden("no socket of this user's")


class AgentConnection(Connection):
    """A connection to an agent's socket, and its end of one of the mux's connections."""

    def __init__(self, relay: Relay, id: int, sock: Socket, *, is_connected: bool) -> None:
        self._relay = relay
        self.id = id
        self.is_ending = False  # the client has closed; what it sent before still goes out
        self._unconsumed = 0
        super().__init__(relay.loop, sock, is_connected=is_connected)

    def deliver(self, data: bytes) -> None:
        """Give the agent what came from the client."""
        self._unconsumed += len(data)
        self.send([data])
        self._consume()

    def on_writable(self) -> None:
        self._consume()
        if self.is_ending:
            self.close()

    def _consume(self) -> None:
        if not self.is_blocked and not self.is_closed:
            self._relay.mux.consumed(self.id, self._unconsumed)
            self._unconsumed = 0
            self._relay.pump()

    def end(self) -> None:
        """The client has closed."""
        self.is_ending = True
        self.read(False)
        if not self.is_blocked:
            self.close()

    def on_data(self, data: bytes) -> None:
        self._relay.mux.write(self.id, data)
        self._relay.pump()
        self.read(self._relay.mux.waiting(self.id) < MOST_WAITING)

    def on_closed(self) -> None:
        self._relay.ended(self)


class Relay:
    """The pipe to the client, `source` and `sink`, and the connections to agents."""

    def __init__(self, source: int, sink: int) -> None:
        self.loop = Loop(lambda now: None, self._defect)
        self.mux = Mux(is_client=False)
        self._source = source
        self._sink = sink
        self._connections: Dict[int, AgentConnection] = {}
        self._unsent: Any = b""  # of what the mux has given
        self._waits = False  # whether the pipe takes nothing now
        for pipe in (source, sink):
            os.set_blocking(pipe, False)

    def run(self) -> None:
        """Serve until the pipe ends."""
        self.loop.watch(self._source, READ, self._on_readable)
        self.loop.run()
        for connection in self._connections.values():
            connection.close()

    def _defect(self) -> None:
        os.write(2, describe_defect().encode("utf-8", "replace"))
        self.loop.running = False  # the client begins another

    # -- from the client -------------------------------------------------------------------------

    def _on_readable(self, events: int) -> None:
        try:
            data = os.read(self._source, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.running = False
            return
        try:
            for event in self.mux.receive(data):
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
                    connection.end()
        except ProtocolError as error:
            os.write(2, b"%s\n" % str(error).encode("utf-8"))
            self.loop.running = False
            return
        self.pump()

    def _open(self, id: int, path: bytes) -> None:
        refusal: Optional[str] = None
        try:
            if len(self._connections) >= MOST_CONNECTIONS:
                raise Forbidden(f"more than {MOST_CONNECTIONS} connections")
            text = path.decode("utf-8")
            check(text)
            sock, is_connected = connect(text)
        except (Forbidden, UnicodeError, ValueError) as error:
            refusal = str(error)
        except OSError as error:
            refusal = error.strerror or "it can't be reached"
        if refusal is not None:
            self.mux.abort(id, refusal)
        else:
            connection = AgentConnection(self, id, sock, is_connected=is_connected)
            self._connections[id] = connection

    # -- to the client ---------------------------------------------------------------------------

    def ended(self, connection: AgentConnection) -> None:
        """An agent has closed a connection; what it sent before still reaches the client."""
        if self._connections.pop(connection.id, None) is not None:
            self.mux.close(connection.id)
            self.pump()

    def pump(self) -> None:
        """Give the pipe what it takes."""
        while not self._waits:
            if not self._unsent:
                self._unsent = memoryview(self.mux.next())
                if not self._unsent:
                    return
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

    def _wait(self, waits: bool) -> None:
        self._waits = waits
        self.loop.watch(self._sink, WRITE if waits else 0, self._on_writable)

    def _on_writable(self, events: int) -> None:
        self._wait(False)
        self.pump()
        for connection in list(self._connections.values()):
            if not connection.is_closed:
                connection.read(self.mux.waiting(connection.id) < MOST_WAITING)


def run(request: Dict[str, Any]) -> None:
    """Do the job."""
    answer(relay=True)
    Relay(0, 1).run()
