"""Two real ends of the streams, under drivers as small as drivers can be.

The same pair runs on any `Wire`: the fake one, socketpairs, a real ssh forward. Every endpoint
checks each byte that it gets against what the other one wrote, so a test only has to make things
happen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from sshpyk.wire import stream as stream_module
from sshpyk.wire.carrier import Attachment, Carrier
from sshpyk.wire.frames import DATA, HEADER, HELLO, REFUSED, WELCOME, Frame
from sshpyk.wire.stream import Stream

ROOM = 64 * 1024


class Connection(Protocol):
    """One end of a connection for a carrier; it never blocks, and raises OSError when broken."""

    def send(self, data: bytes) -> int:
        """Send some of `data`; how much."""

    def receive(self) -> bytes | None:
        """What came; None where nothing has, empty at the end."""

    def close(self) -> None:
        """End it."""


class Wire(Protocol):
    """Makes connections from the client's end to the agent's, and breaks them."""

    @property
    def now(self) -> float:
        """Seconds, on a clock that never goes back."""

    def dial(self) -> Connection:
        """A new connection, at the client's end; raises OSError where there is no way now."""

    def accept(self) -> list[Connection]:
        """The agent's ends of connections that it does not know yet."""

    def cut(self) -> None:
        """Break every connection there is; `dial` works again, at once or soon."""

    def wait(self, seconds: float) -> None:
        """Return when something may have happened, after `seconds` at the latest."""

    def close(self) -> None:
        """The test is over."""


class Endpoint:
    """What stands at one end of a stream: a socket of the local client, or of the kernel."""

    def __init__(self) -> None:
        self.peer = self
        self.written = bytearray()
        self.received = 0
        self.room: int | None = None  # takes so many bytes at a time; 0: none
        self.closed = False  # by this endpoint
        self.ended = False  # it was told that its peer has closed

    def take(self, data: bytes) -> int:
        """Deliver `data`; how much of it was taken."""
        assert not self.closed, "delivered to an endpoint that has closed"
        data = data[: self.room]
        expected = self.peer.written[self.received : self.received + len(data)]
        assert data == expected, f"wrong bytes at {self.received}"
        self.received += len(data)
        return len(data)

    def end(self) -> None:
        """Tell it that its peer has closed, and that all its bytes were delivered."""
        assert self.peer.closed, "an end that nobody made"
        assert self.received == len(self.peer.written), "an end before the last byte"
        self.ended = True


class Link:
    """A carrier and the connection it goes through."""

    def __init__(self, connection: Connection, carrier: Carrier, generation: int) -> None:
        self.connection = connection
        self.carrier = carrier
        self.generation = generation
        self.unsent = bytearray()
        self.closing = False  # when everything is sent


class End:
    """What both drivers have in common."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.attachment = Attachment("attachment")
        self.links: list[Link] = []
        self.endpoints: dict[int, Endpoint] = {}
        self.frames: list[Frame] = []  # all that went out, without payloads

    @property
    def streams(self) -> dict[int, Stream]:
        return self.attachment.streams

    def write(self, id: int, data: bytes) -> None:
        """The endpoint of stream `id` writes, if it can."""
        if id in self.streams and not self.endpoints[id].closed:
            self.endpoints[id].written += data
            self.streams[id].write(data)

    def close(self, id: int) -> None:
        """The endpoint of stream `id` closes, if it can."""
        if id in self.streams:
            self.endpoints[id].closed = True
            self.streams[id].close()

    def step(self) -> None:
        """Do all that can be done now."""
        for link in self.links[:]:
            self._guard(link, self._pull)
        for stream in self.streams.values():
            self._deliver(stream)
        for link in self.links[:]:
            self._guard(link, self._push)
        self.discard_done()

    def discard_done(self) -> None:
        for stream in list(self.streams.values()):
            if stream.done:
                self.attachment.discard(stream)

    def lose(self, link: Link) -> None:
        """End a link; what its carrier had not brought across will be sent again."""
        if link in self.links:
            self.links.remove(link)
            link.carrier.lost()
            link.connection.close()

    def handle(self, link: Link, frame: Frame) -> None:
        """A frame that is the driver's to answer."""
        raise NotImplementedError

    def _guard(self, link: Link, action: Callable[[Link], None]) -> None:
        try:
            if link in self.links:
                action(link)
        except OSError:
            self.lose(link)

    def _pull(self, link: Link) -> None:
        while link in self.links and not link.closing:
            data = link.connection.receive()
            if data is None:
                return
            if not data:
                self.lose(link)
                return
            for event in link.carrier.receive(data, self.wire.now):
                if isinstance(event, Frame):
                    self.handle(link, event)
                    if link.closing or link not in self.links:
                        return

    def _deliver(self, stream: Stream) -> None:
        endpoint = self.endpoints[stream.id]
        while piece := stream.peek():
            taken = endpoint.take(piece)
            if not taken:
                return
            stream.consume(taken, self.wire.now)
            if endpoint.room is not None:
                break
        if stream.peer_closed and not endpoint.closed and not endpoint.ended:
            endpoint.end()

    def _push(self, link: Link) -> None:
        while True:
            if not link.unsent:
                link.unsent += b"".join(link.carrier.drain(self.wire.now, ROOM))
                self._check(link.unsent)
            if not link.unsent:
                break
            del link.unsent[: link.connection.send(bytes(link.unsent))]
            if link.unsent:
                return
        if link.closing:
            self.lose(link)

    def _check(self, data: bytearray) -> None:
        offset = 0
        while offset < len(data):
            type, id, position, length = HEADER.unpack_from(data, offset)
            offset += HEADER.size + length
            self.frames.append(Frame(type, id, position))
            if type == DATA:
                acknowledged = self.streams[id].kept.start
                in_flight = position + length - acknowledged
                assert in_flight <= stream_module.WINDOW, f"{in_flight} bytes in flight"


class Client(End):
    """The client's driver: a connection for each stream, dialled again when it is lost."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.refused = 0

    def step(self) -> None:
        for stream in self.streams.values():
            if not stream.carriers:
                self.dial(stream)
        super().step()
        for link in self.links:
            # Whoever carries nothing more is not needed; what it still has to say goes out first.
            link.closing = not link.carrier.streams

    def dial(self, *streams: Stream) -> None:
        """Carry `streams` on a new connection."""
        try:
            connection = self.wire.dial()
        except OSError:
            return
        carrier = Carrier(self.attachment)
        hello = {
            "attachment": self.attachment.id,
            "generation": self.attachment.generation,
            "oldest": self.attachment.oldest,
        }
        carrier.send(Frame(HELLO, payload=json.dumps(hello).encode()))
        for stream in streams:
            carrier.announce(stream)
        self.links.append(Link(connection, carrier, self.attachment.generation))

    def reconnect(self) -> None:
        """Give everything up that there is and begin a new generation."""
        self.attachment.generation += 1
        for link in self.links[:]:
            self.lose(link)

    def handle(self, link: Link, frame: Frame) -> None:
        if frame.type == REFUSED:
            self.refused += 1
            self.lose(link)


class Agent(End):
    """The agent's driver."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.refused = 0

    def step(self) -> None:
        for connection in self.wire.accept():
            self.links.append(Link(connection, Carrier(), -1))
        super().step()

    def handle(self, link: Link, frame: Frame) -> None:
        if frame.type != HELLO:
            return
        hello = json.loads(frame.payload)
        generation = hello["generation"]
        if generation < self.attachment.generation:
            self.refused += 1
            link.carrier.send(Frame(REFUSED, payload=b"an old generation"))
            link.closing = True
            return
        self.attachment.generation = link.generation = generation
        for old in self.links[:]:
            if 0 <= old.generation < generation:
                self.lose(old)
        for stream in self.attachment.forget_before(hello["oldest"]):
            self.attachment.discard(stream)
        link.carrier.attachment = self.attachment
        link.carrier.send(Frame(WELCOME))


class Pair:
    """A client and an agent on one wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.client = Client(wire)
        self.agent = Agent(wire)

    def open(self, channel: str = "shell") -> int:
        """Open a stream; its id."""
        id = self.client.attachment.open(channel).id
        here, there = Endpoint(), Endpoint()
        here.peer, there.peer = there, here
        self.client.endpoints[id] = here
        self.agent.endpoints[id] = there
        return id

    def step(self) -> None:
        self.client.step()
        self.agent.step()

    def run_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let both ends work until `condition` holds."""
        end = self.wire.now + seconds
        while not condition():
            assert self.wire.now < end, f"still not after {seconds} s: {self.describe()}"
            self.step()
            self.wire.wait(0.02)

    def settle(self) -> None:
        """Run until nothing is left to do, and check that this is so."""
        self.run_until(lambda: self.settled)
        for end in (self.client, self.agent):
            for id, endpoint in end.endpoints.items():
                if not endpoint.closed:
                    assert endpoint.received == len(endpoint.peer.written)
                    assert endpoint.ended == endpoint.peer.closed
                assert not (self.is_closed(id) and id in end.streams)

    @property
    def settled(self) -> bool:
        """Whether all was delivered, all acknowledged, and all that is closed forgotten."""
        return all(
            not self.is_closed(id) and not stream.unacknowledged and not stream.peek()
            for end in (self.client, self.agent)
            for id, stream in end.streams.items()
        ) and all(
            end.endpoints[id].received == len(end.endpoints[id].peer.written)
            for end in (self.client, self.agent)
            for id in end.endpoints
            if not self.is_closed(id)
        )

    def is_closed(self, id: int) -> bool:
        return self.client.endpoints[id].closed or self.agent.endpoints[id].closed

    def describe(self) -> str:
        lines = []
        for end in (self.client, self.agent):
            for id, stream in end.streams.items():
                kept, endpoint = stream.kept, end.endpoints[id]
                lines.append(
                    f"{type(end).__name__} {id}: kept {kept.start}-{kept.end} at {stream.position}"
                    f" delivered {endpoint.received} carriers {len(stream.carriers)}"
                    f" closed {endpoint.closed} over {stream.over} due {stream.next_deadline()}"
                )
        return "\n".join(lines)
