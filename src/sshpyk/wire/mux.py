"""Many connections over one pipe: how they become bytes, and how they take turns.

Both ends have a `Mux`. The client opens connections and counts their ids upwards; the relay
connects each to the agent's socket that the client names, and says nothing where that works: who
opens one need not wait for an answer. A frame is a header of 9 bytes (type, connection, number;
big-endian) and its payload:

======= ==================== ==========================================================
type    number               payload
======= ==================== ==========================================================
OPEN    bytes of payload     the socket's path or port; from the client only
DATA    bytes of payload     the bytes
CREDIT  bytes                none: the peer may send so many more on this connection
CLOSE   0                    none: the connection has ended, in both directions
REFUSED bytes of payload     as CLOSE, for there is no such connection; why (text)
PING    0                    none, and no connection: answer with PONG
PONG    0                    none, and no connection
======= ==================== ==========================================================

Each side closes each connection once: what arrives between its own CLOSE and the peer's is
dropped. An id is not used again.
"""

from __future__ import annotations

import struct
from collections import deque

from .frames import ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Deque, Dict, List

HEADER = struct.Struct(">BII")

OPEN, DATA, CREDIT, CLOSE, REFUSED, PING, PONG = range(1, 8)
NAMES = ("", "OPEN", "DATA", "CREDIT", "CLOSE", "REFUSED", "PING", "PONG")

#: Bytes of one connection before the others have their turn: what a small reply waits for at most
#: at the entrance of the pipe.
CHUNK = 32 * 1024

#: Bytes of one connection that may be on the way and not delivered, and so what a receiver holds of
#: it at most. Twice what ssh gives a session (2 MiB), so that the pipe is the limit and not this.
WINDOW = 4 * 1024 * 1024

#: Bytes delivered before the peer hears of it.
CREDIT_EVERY = WINDOW // 4

#: The longest payload of each type that carries one. Whoever sends more is not our peer.
LIMITS = {OPEN: 4096, DATA: CHUNK, REFUSED: 1024}


class Event:
    """What came on a connection: OPEN with an address, DATA with bytes, CLOSE, REFUSED with a
    text."""

    __slots__ = ("connection", "parts", "type")

    def __init__(self, type: int, connection: int, payload: bytes = b"") -> None:
        self.type = type
        self.connection = connection
        self.parts = [payload]

    @property
    def payload(self) -> bytes:
        """The address, the bytes or the text."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def __repr__(self) -> str:
        # The length only: the bytes are the user's.
        return f"<{NAMES[self.type]} {self.connection} +{sum(map(len, self.parts))}>"


class _Connection:
    """One connection, as one end knows it."""

    __slots__ = (
        "credit",
        "delivered",
        "is_closing",
        "is_over",
        "is_ready",
        "owed",
        "queue",
        "size",
    )

    def __init__(self) -> None:
        self.queue: Deque[memoryview] = deque()
        self.size = 0  # bytes in the queue
        self.credit = WINDOW  # bytes that may be sent
        self.owed = 0  # bytes received and not yet delivered
        self.delivered = 0  # bytes delivered of which the peer has not heard
        self.is_closing = False  # CLOSE follows what waits
        self.is_over = False  # our CLOSE is sent, or about to be
        self.is_ready = False  # whether it is in line for a turn


class Mux:
    """One end of the pipe.

    What comes out of the pipe goes into `receive`, and what `next` gives goes into the pipe as soon
    as that takes it. Calls for a connection that is over have no effect.
    """

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self._connections: Dict[int, _Connection] = {}
        self._newest = 0  # the id of the newest connection
        self._urgent: Deque[bytes] = deque()  # frames that wait for nothing
        self._line: Deque[int] = deque()  # whose turn is next
        self._buffer = b""  # a frame's beginning
        self._current = 0  # the connection of the present DATA frame...
        self._missing = 0  # ...and what is still to come of it

    # -- what this end wants ---------------------------------------------------------------------

    def open(self, address: str) -> int:
        """Open a connection to a socket, for the client; its id. `address` is the socket's path,
        or its port of loopback in digits.

        Raises ValueError where no socket can have such a path.
        """
        payload = address.encode("utf-8")
        if not 0 < len(payload) <= LIMITS[OPEN]:
            raise ValueError(f"a path of {len(payload)} bytes")
        self._newest += 1
        self._connections[self._newest] = _Connection()
        self._urgent.append(HEADER.pack(OPEN, self._newest, len(payload)) + payload)
        return self._newest

    def write(self, id: int, data: bytes) -> None:
        """Send `data` on a connection, when its turn comes and the peer takes it."""
        connection = self._connections.get(id)
        if connection is None or connection.is_closing or connection.is_over or not data:
            return
        connection.queue.append(memoryview(data))
        connection.size += len(data)
        self._stand_in_line(id, connection)

    def waiting(self, id: int) -> int:
        """How many bytes wait to be sent on a connection."""
        connection = self._connections.get(id)
        return 0 if connection is None else connection.size

    def is_open(self, id: int) -> bool:
        """Whether there is still something to be sent on a connection, or its end."""
        connection = self._connections.get(id)
        return connection is not None and not connection.is_over

    def consumed(self, id: int, size: int) -> None:
        """So many bytes of what was received are delivered; the peer may send as many more."""
        connection = self._connections.get(id)
        if connection is None:
            return
        connection.owed -= size
        connection.delivered += size
        if connection.delivered >= CREDIT_EVERY and not connection.is_over:
            self._urgent.append(HEADER.pack(CREDIT, id, connection.delivered))
            connection.delivered = 0

    def close(self, id: int) -> None:
        """End a connection once what was written has been sent."""
        connection = self._connections.get(id)
        if connection is not None and not connection.is_over:
            connection.is_closing = True
            self._stand_in_line(id, connection)

    def abort(self, id: int, refusal: str = "") -> None:
        """End a connection at once; `refusal` says why there can be none."""
        connection = self._connections.get(id)
        if connection is None or connection.is_over:
            return
        connection.queue.clear()
        connection.size = 0
        connection.is_over = True
        payload = refusal.encode("utf-8", "replace")[: LIMITS[REFUSED]]
        type = REFUSED if payload else CLOSE
        self._urgent.append(HEADER.pack(type, id, len(payload)) + payload)

    def ping(self) -> None:
        """Ask the peer for a sign of life, which is anything that it sends."""
        self._urgent.append(HEADER.pack(PING, 0, 0))

    # -- the pipe --------------------------------------------------------------------------------

    def next(self) -> bytes:
        """What goes into the pipe next, at most a little more than `CHUNK`; empty where there is
        nothing."""
        if self._urgent:
            parts = []
            size = 0
            while self._urgent and size < CHUNK:
                parts.append(self._urgent.popleft())
                size += len(parts[-1])
            return b"".join(parts)
        while self._line:
            id = self._line.popleft()
            connection = self._connections.get(id)
            if connection is None or connection.is_over:
                continue
            connection.is_ready = False
            parts = self._chunk(id, connection)
            if connection.is_closing and not connection.size:
                connection.is_over = True
                parts.append(HEADER.pack(CLOSE, id, 0))
            else:
                self._stand_in_line(id, connection)
            if parts:
                return b"".join(parts)
        return b""

    def _stand_in_line(self, id: int, connection: _Connection) -> None:
        has_data = connection.size and connection.credit
        is_done = connection.is_closing and not connection.size
        if (has_data or is_done) and not connection.is_ready:
            connection.is_ready = True
            self._line.append(id)

    def _chunk(self, id: int, connection: _Connection) -> List[bytes]:
        """A DATA frame of what a connection has to send and may, in parts."""
        size = min(CHUNK, connection.size, connection.credit)
        if not size:
            return []
        connection.size -= size
        connection.credit -= size
        parts: List[bytes] = [HEADER.pack(DATA, id, size)]
        while size:
            piece = connection.queue.popleft()
            if len(piece) > size:
                connection.queue.appendleft(piece[size:])
                piece = piece[:size]
            parts.append(piece)  # type: ignore[arg-type]  # joined, a view is as good as bytes
            size -= len(piece)
        return parts

    def receive(self, data: bytes) -> List[Event]:
        """Give the bytes that came out of the pipe; get what they bring, in the order of each
        connection.

        Bytes of a connection are handed on as they arrive, whether their frame is whole or not, and
        all together: each piece costs who gets it more than its bytes do.
        Raises `ProtocolError` where they can't be a peer's: the pipe is of no use any more.
        """
        events: List[Event] = []
        bytes_of: Dict[int, Event] = {}
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        offset = 0
        size = len(data)
        while offset < size:
            if self._missing:
                piece = data[offset : offset + self._missing]
                offset += len(piece)
                self._missing -= len(piece)
                self._bring(piece, events, bytes_of)
                continue
            if size - offset < HEADER.size:
                break
            type, id, number = HEADER.unpack_from(data, offset)
            if not OPEN <= type <= PONG:
                raise ProtocolError(f"a frame of type {type}")
            if number > LIMITS.get(type, 0) and type != CREDIT:
                raise ProtocolError(f"{NAMES[type]} with {number} bytes")
            if type in (OPEN, REFUSED) and size - offset < HEADER.size + number:
                break
            offset += HEADER.size
            if type == DATA:
                self._current, self._missing = id, number
                self._check_known(id, type)
            elif type == CREDIT:
                self._more_credit(id, number)
            elif type == OPEN:
                self._opened(id)
                events.append(Event(OPEN, id, data[offset : offset + number]))
                offset += number
            elif type == PING:
                self._urgent.append(HEADER.pack(PONG, 0, 0))
            elif type != PONG:
                payload = data[offset : offset + number]
                offset += number
                self._ended(id, type, payload, events)
        if offset < size:
            self._buffer = data[offset:]
        return events

    def _check_known(self, id: int, type: int) -> None:
        if id not in self._connections:
            raise ProtocolError(f"{NAMES[type]} for a connection that is not there")

    def _opened(self, id: int) -> None:
        if self._is_client or id <= self._newest:
            raise ProtocolError("OPEN for an id that can't be opened")
        self._newest = id
        self._connections[id] = _Connection()

    def _bring(self, piece: bytes, events: List[Event], bytes_of: Dict[int, Event]) -> None:
        connection = self._connections[self._current]
        if connection.is_over:
            return  # it crossed our CLOSE
        connection.owed += len(piece)
        if connection.owed + connection.delivered > WINDOW:
            raise ProtocolError("more bytes than were allowed")
        if self._current in bytes_of:
            bytes_of[self._current].parts.append(piece)
        else:
            bytes_of[self._current] = event = Event(DATA, self._current, piece)
            events.append(event)

    def _more_credit(self, id: int, size: int) -> None:
        self._check_known(id, CREDIT)
        connection = self._connections[id]
        connection.credit += size
        if connection.credit > WINDOW:
            raise ProtocolError("credit for more than was sent")
        if not connection.is_over:
            self._stand_in_line(id, connection)

    def _ended(self, id: int, type: int, reason: bytes, events: List[Event]) -> None:
        self._check_known(id, type)
        was_over = self._connections[id].is_over
        self.abort(id)  # the peer waits for our CLOSE, to forget the connection as we do
        del self._connections[id]
        if not was_over:
            events.append(Event(type, id, reason))
