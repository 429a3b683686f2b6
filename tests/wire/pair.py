"""Two real ends of the streams, under drivers as small as drivers can be.

The same pair runs on any `Wire`: the fake one, socketpairs, a real ssh forward. Every endpoint
checks each byte that it gets against what the other one wrote, so a test only has to make things
happen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sshpyk.wire import stream as stream_module
from sshpyk.wire.attachment import CONTROL, Attachment
from sshpyk.wire.carrier import Carrier
from sshpyk.wire.frames import DATA, HEADER, HELLO, REFUSED, WELCOME, Frame
from sshpyk.wire.stream import Stream

if TYPE_CHECKING:
    from sshpyk.wire.control import Message
    from sshpyk.wire.frames import Data

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
        self.unheard = False  # it closed before its peer could hear of it

    def take(self, data: Data) -> int:
        """Deliver `data`; how much of it was taken."""
        assert not self.closed, "delivered to an endpoint that has closed"
        data = data[: self.room]
        expected = self.peer.written[self.received : self.received + len(data)]
        assert bytes(data) == expected, f"wrong bytes at {self.received}"
        self.received += len(data)
        return len(data)

    def end(self) -> None:
        """Tell it that its peer has closed, and that all its bytes were delivered."""
        assert self.peer.closed, "an end that nobody made"
        assert self.received == len(self.peer.written), "an end before the last byte"
        self.ended = True


class Link:
    """A carrier and the connection that it goes through; what does not fit at once waits here."""

    def __init__(self, end: End, connection: Connection, generation: int) -> None:
        self.end = end
        self.connection = connection
        self.generation = generation
        self.carrier = Carrier(self, ROOM)
        self.is_welcome = False
        self.unsent = bytearray()
        self.closing = False  # when everything is sent

    def send(self, parts: list[Data]) -> bool:
        self.end.check(parts)
        self.unsent += b"".join(parts)
        self.flush()
        return not self.unsent

    def flush(self) -> None:
        """Give the connection what it takes."""
        try:
            while self.unsent and (sent := self.connection.send(bytes(self.unsent))):
                del self.unsent[:sent]
        except OSError:
            self.unsent.clear()
            self.closing = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.end.forget(self)


class End:
    """What both drivers have in common."""

    def __init__(self, wire: Wire, *, is_client: bool) -> None:
        self.wire = wire
        self.attachment = Attachment("attachment", self, is_client=is_client)
        self.links: list[Link] = []
        self.endpoints: dict[int, Endpoint] = {}
        self.frames: list[Frame] = []  # all that went out, without payloads
        self.messages: list[int] = []  # the numbers of the control messages that came
        self.messages_sent = 0  # how many control messages were sent

    @property
    def streams(self) -> dict[int, Stream]:
        return self.attachment.streams

    def say(self) -> None:
        """Send a control message."""
        self.attachment.send_message("state", self.wire.now, number=self.messages_sent)
        self.messages_sent += 1

    def write(self, id: int, data: bytes) -> None:
        """The endpoint of stream `id` writes, if it can."""
        if id == CONTROL:
            self.say()
        elif id in self.streams and not self.endpoints[id].closed:
            self.endpoints[id].written += data
            self.attachment.write(self.streams[id], data, self.wire.now)

    def close(self, id: int) -> None:
        """The endpoint of stream `id` closes, if it can."""
        if id in self.streams and id != CONTROL:
            self.endpoints[id].closed = True
            self.attachment.close(self.streams[id], self.wire.now)

    def step(self) -> None:
        """Do all that can be done now."""
        for link in self.links[:]:
            if link in self.links:
                self._flush(link)
            if link in self.links:
                self._pull(link)
        for stream in list(self.streams.values()):
            if stream.peek():
                self.attachment.deliver(stream, self.wire.now)
        self.attachment.tick(self.wire.now)

    def deliver(self, stream: Stream, now: float) -> None:
        endpoint = self.endpoints[stream.id]
        while piece := stream.peek():
            taken = endpoint.take(piece)
            if not taken:
                return
            stream.consume(taken, now)
            if endpoint.room is not None:
                break
        if stream.peer_closed and not endpoint.closed and not endpoint.ended:
            endpoint.end()

    def message(self, message: Message) -> None:
        assert message["number"] == len(self.messages), "a control message lost, or twice"
        self.messages.append(message["number"])

    def over(self, stream: Stream) -> None:
        endpoint = self.endpoints[stream.id]
        assert endpoint.closed or endpoint.ended, "over before its end"

    def forget(self, link: Link) -> None:
        """A connection has ended; what its carrier had not brought across will be sent again."""
        if link in self.links:
            self.links.remove(link)
            link.connection.close()
            self.attachment.lose(link.carrier, self.wire.now)

    def greet(self, link: Link, frame: Frame) -> None:
        """The first frame on a connection."""
        raise NotImplementedError

    def _flush(self, link: Link) -> None:
        waited = bool(link.unsent)
        link.flush()
        if link.closing and not link.unsent:
            self.forget(link)
        elif waited and not link.unsent:
            self.attachment.make_room(link.carrier, self.wire.now)

    def _pull(self, link: Link) -> None:
        while link in self.links and not link.closing:
            try:
                data = link.connection.receive()
            except OSError:
                data = b""
            if data is None:
                return
            if not data:
                self.forget(link)
                return
            frames = link.carrier.feed(data)
            if frames and not link.is_welcome:
                self.greet(link, frames.pop(0))
            if link.is_welcome:
                self.attachment.receive(link.carrier, frames, self.wire.now)

    def check(self, parts: list[Data]) -> None:
        """Look at what goes out."""
        data = b"".join(parts)
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
        super().__init__(wire, is_client=True)
        self.refused = 0

    def over(self, stream: Stream) -> None:
        super().over(stream)
        self.endpoints[stream.id].unheard = not stream.was_announced

    def step(self) -> None:
        for stream in list(self.streams.values()):
            if not stream.carriers:
                self.dial(stream)
        super().step()

    def dial(self, *streams: Stream) -> None:
        """Carry `streams` on a new connection."""
        try:
            connection = self.wire.dial()
        except OSError:
            return
        link = Link(self, connection, self.attachment.generation)
        self.links.append(link)
        hello = {"generation": self.attachment.generation, "oldest": self.attachment.oldest}
        link.carrier.send(Frame(HELLO, payload=json.dumps(hello).encode()))
        self.attachment.add(link.carrier, streams)
        self.attachment.pump(link.carrier, self.wire.now)

    def reconnect(self) -> None:
        """Give everything up that there is and begin a new generation."""
        self.attachment.generation += 1
        self.attachment.drop_carriers(self.wire.now)
        for link in self.links[:]:
            self.forget(link)  # those that were only to send their last

    def greet(self, link: Link, frame: Frame) -> None:
        if frame.type == REFUSED:
            self.refused += 1
            self.forget(link)
            return
        assert frame.type == WELCOME
        link.is_welcome = True


class Agent(End):
    """The agent's driver."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, is_client=False)
        self.refused = 0

    def step(self) -> None:
        for connection in self.wire.accept():
            self.links.append(Link(self, connection, -1))
        super().step()

    def greet(self, link: Link, frame: Frame) -> None:
        assert frame.type == HELLO
        hello = json.loads(bytes(frame.payload))
        generation = hello["generation"]
        if generation < self.attachment.generation:
            self.refused += 1
            link.send([Frame(REFUSED, payload=b"an old generation").encode()])
            link.closing = True
            return
        if generation > self.attachment.generation:
            self.attachment.generation = generation
            self.attachment.drop_carriers(self.wire.now)
        self.attachment.forget_before(hello["oldest"], self.wire.now)
        self.attachment.add(link.carrier)
        link.carrier.send(Frame(WELCOME))
        link.is_welcome = True


class Pair:
    """A client and an agent on one wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.client = Client(wire)
        self.agent = Agent(wire)
        # What stands at the ends of the control stream are the attachments themselves.
        self._join(CONTROL)

    def open(self, channel: str = "shell") -> int:
        """Open a stream; its id."""
        id = self.client.attachment.open(channel).id
        self._join(id)
        return id

    def _join(self, id: int) -> None:
        here, there = Endpoint(), Endpoint()
        here.peer, there.peer = there, here
        self.client.endpoints[id] = here
        self.agent.endpoints[id] = there

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
                if not endpoint.closed and not endpoint.peer.unheard:
                    assert endpoint.received == len(endpoint.peer.written)
                    assert endpoint.ended == endpoint.peer.closed
                assert not (self.is_closed(id) and id in end.streams)

    @property
    def settled(self) -> bool:
        """Whether all was delivered, all acknowledged, and all that is closed forgotten."""
        return (
            all(
                not self.is_closed(id) and not stream.unacknowledged and not stream.peek()
                for end in (self.client, self.agent)
                for id, stream in end.streams.items()
            )
            and all(
                end.endpoints[id].received == len(end.endpoints[id].peer.written)
                for end in (self.client, self.agent)
                for id in end.endpoints
                if not self.is_closed(id)
            )
            and (len(self.client.messages), len(self.agent.messages))
            == (self.agent.messages_sent, self.client.messages_sent)
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
                    f" delivered {endpoint.received} carriers {stream.carriers}"
                    f" closed {endpoint.closed} over {stream.over} due {stream.next_deadline()}"
                )
        return "\n".join(lines)
