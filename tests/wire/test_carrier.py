"""Carriers: what they say to whom, and what hostile bytes can do to them: end them, no more."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from sshpyk.wire.attachment import CONTROL, MAX_STREAMS, Attachment
from sshpyk.wire.carrier import MAX_WAITING, Carrier
from sshpyk.wire.channels import AGENT
from sshpyk.wire.control import encode
from sshpyk.wire.frames import (
    ACK,
    CHUNK,
    CLOSE,
    DATA,
    GONE,
    HEADER,
    HELLO,
    LIMITS,
    OPEN,
    PING,
    PONG,
    REFUSED,
    WELCOME,
    Frame,
    FrameReader,
    ProtocolError,
    Refused,
)
from sshpyk.wire.stream import ACK_DELAY, WINDOW, Stream

if TYPE_CHECKING:
    from sshpyk.wire.frames import Data

#: About so many bytes a carrier gives its connection at a time.
TURN = 64 * 1024


class Driver:
    """Both what an attachment tells, and the connection of its carrier, which takes everything
    while it `has_room`."""

    def __init__(self) -> None:
        self.has_room = True
        self.takes = True  # whether what is delivered is taken
        self.sent: list[Data] = []
        self.closed = ""
        self.delivered: list[Stream] = []
        self.messages: list[str] = []
        self.ended: list[int] = []

    def send(self, parts: list[Data]) -> bool:
        self.sent += parts
        return self.has_room

    def close(self) -> None:
        self.closed = "close"

    def abort(self) -> None:
        self.closed = "abort"

    def deliver(self, stream: Stream, now: float) -> None:
        self.delivered.append(stream)
        while self.takes and stream.peek():
            stream.consume(len(stream.peek()), now)

    def message(self, message: dict[str, object]) -> None:
        self.messages.append(str(message["type"]))

    def over(self, stream: Stream) -> None:
        self.ended.append(stream.id)


class End:
    """One end: an attachment with a carrier."""

    def __init__(self, *, is_client: bool) -> None:
        self.driver = Driver()
        self.attachment = Attachment("attachment", self.driver, is_client=is_client)
        self.carrier = self.another()

    def another(self) -> Carrier:
        carrier = Carrier(self.driver, TURN)
        self.attachment.add(carrier)
        return carrier

    def feed(self, *frames: Frame, now: float = 0.0) -> list[Stream]:
        """Receive frames; the streams that were delivered."""
        data = b"".join(frame.encode() for frame in frames)
        self.driver.delivered = []
        self.attachment.receive(self.carrier, self.carrier.feed(data), now)
        return self.driver.delivered

    def drained(self, now: float = 0.0) -> list[Frame]:
        """What has gone out by `now` and was not returned before."""
        self.attachment.tick(now)
        for carrier in self.attachment.carriers[:]:
            self.attachment.pump(carrier, now)
        sent, self.driver.sent = b"".join(self.driver.sent), []
        return FrameReader().feed(sent)


def agent() -> End:
    """The agent's, after a good HELLO."""
    return End(is_client=False)


def client(streams: int = 1) -> End:
    """The client's; its carrier carries so many streams beside the control stream."""
    end = End(is_client=True)
    opened = [end.attachment.open("shell") for _ in range(streams)]
    end.attachment.add(end.carrier, [end.attachment.control, *opened])
    return end


@pytest.mark.parametrize("type", [OPEN, HELLO])
def test_what_an_agent_never_sends(type: int) -> None:
    with pytest.raises(ProtocolError):
        client().feed(Frame(type, 0, 0, b"shell"))


@pytest.mark.parametrize("type", [HELLO, WELCOME, REFUSED, PONG])
def test_what_a_client_never_sends(type: int) -> None:
    with pytest.raises(ProtocolError):
        agent().feed(Frame(type))


def test_the_agents_reason_ends_the_carrier() -> None:
    end = client()
    with pytest.raises(Refused, match="a carrier of an earlier connection"):
        end.feed(Frame(REFUSED, payload=b"a carrier of an earlier connection"))


def test_pings_are_answered_with_their_number() -> None:
    for end in (client(0), agent()):
        end.drained()
        assert end.feed(Frame(PING, 0, 12345)) == []
        (pong,) = end.drained()
        assert (pong.type, pong.position) == (PONG, 12345)


def test_a_ping_goes_where_the_control_stream_is_carried() -> None:
    end = client()
    end.drained()
    end.attachment.ping(0.0)
    assert [frame.type for frame in end.drained()] == [PING]
    end.attachment.drop_carriers(0.0)
    end.attachment.ping(0.0)
    assert end.drained() == []
    assert end.driver.closed == "abort"


def test_who_never_reads_is_ended() -> None:
    for end in (client(), agent()):
        end.driver.has_room = False
        with pytest.raises(ProtocolError):  # noqa: PT012
            for _ in range(100):
                end.feed(*[Frame(PING)] * 1000)
        assert len(end.carrier._out) <= MAX_WAITING + 1


def test_what_has_no_room_waits_for_it() -> None:
    end = client()
    end.driver.has_room = False
    end.attachment.pump(end.carrier, 0.0)
    end.drained()
    (stream,) = [s for s in end.attachment.streams.values() if s.id != CONTROL]
    end.attachment.write(stream, b"later", 0.0)
    assert end.drained() == []
    end.driver.has_room = True
    end.attachment.make_room(end.carrier, 0.0)
    assert [frame.payload for frame in end.drained()] == [b"later"]


def test_what_a_lost_carrier_may_not_have_brought_goes_by_another_at_once() -> None:
    end = client()
    (stream,) = [s for s in end.attachment.streams.values() if s.id != CONTROL]
    end.attachment.write(stream, b"once", 0.0)
    driver = Driver()
    other = Carrier(driver, TURN)
    end.attachment.add(other, [stream])
    end.attachment.pump(other, 0.0)
    driver.sent.clear()
    end.attachment.lose(end.carrier, 0.0)
    sent = FrameReader().feed(b"".join(driver.sent))
    assert [frame.payload for frame in sent if frame.type == DATA] == [b"once"]


def test_control_messages() -> None:
    here, there = client(0), agent()
    here.attachment.send_message("state", 0.0, number=1)
    there.attachment.send_message("bound", 0.0, pid=1)  # before it has a carrier
    there.feed(*here.drained())
    here.feed(*there.drained())
    assert (there.driver.messages, here.driver.messages) == (["state"], ["bound"])
    two = encode("state", number=2) + encode("leave", number=3)
    position = here.attachment.control.kept.end
    there.feed(*[Frame(DATA, CONTROL, position + n, two[n : n + 1]) for n in range(len(two))])
    assert there.driver.messages == ["state", "state", "leave"]
    assert there.driver.delivered == []
    with pytest.raises(ProtocolError):
        there.feed(Frame(DATA, CONTROL, position + len(two), b"no message\n"))


def test_a_stream_that_is_over_is_forgotten_and_its_carrier_closed_when_all_is_sent() -> None:
    end = agent()
    end.feed(Frame(OPEN, 3, 0, b"iopub"))
    end.drained()
    end.driver.has_room = False
    end.feed(Frame(CLOSE, 3, 0))
    assert (end.driver.ended, end.driver.closed) == ([3], "")
    assert [frame.type for frame in end.drained()] == [ACK]
    end.driver.has_room = True
    end.attachment.make_room(end.carrier, 0.0)
    assert [frame.type for frame in end.drained()] == [GONE]
    assert (end.driver.closed, end.attachment.carriers) == ("close", [])


def test_a_carrier_that_has_carried_nothing_yet_stays() -> None:
    end = agent()
    end.feed(Frame(PING))
    assert (end.driver.closed, end.attachment.carriers) == ("", [end.carrier])


def test_acknowledgements_that_are_due() -> None:
    end = agent()
    end.feed(Frame(OPEN, 3, 0, b"iopub"), Frame(DATA, 3, 0, b"abc"), now=5.0)
    end.drained(5.0)
    end.feed(Frame(DATA, 3, 3, b"def"), now=6.0)
    assert end.attachment.next_deadline(6.0) == 6.0 + ACK_DELAY
    assert end.drained(6.0 + ACK_DELAY / 2) == []
    assert [(f.type, f.position) for f in end.drained(6.0 + ACK_DELAY)] == [(ACK, 6)]
    assert end.attachment.tick(7.0) is None


def test_what_waits_for_room_is_no_deadline() -> None:
    """It would be one that has always come already."""
    end = agent()
    end.driver.has_room = False
    end.feed(Frame(OPEN, 1, 0, b"shell"), now=7.0)
    end.feed(Frame(OPEN, 3, 0, b"iopub"), Frame(DATA, 3, 0, b"abc"), now=7.0)
    assert end.attachment.tick(7.0 + ACK_DELAY) is None
    end.attachment.lose(end.carrier, 8.0)
    assert end.attachment.tick(8.0) is None


def test_open_says_how_far_each_side_has_come() -> None:
    end = agent()
    (stream,) = end.feed(Frame(OPEN, 3, 0, b"iopub"))
    assert (stream.id, stream.channel) == (3, "iopub")
    end.attachment.write(stream, b"output", 0.0)
    assert [frame.type for frame in end.drained()] == [ACK, DATA]
    assert end.attachment.lose(end.carrier, 0.0) == [stream]
    end.carrier = end.another()
    assert end.feed(Frame(OPEN, 3, 4, b"iopub")) == [stream]
    ack, data = end.drained()
    assert (ack.type, data.type, data.position, data.payload) == (ACK, DATA, 4, b"ut")


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(OPEN, 1, 1, b"shell")],
        [Frame(OPEN, 1, 0, b"shell"), Frame(ACK, 1, 1)],
        [Frame(OPEN, 1, 0, b"shell"), Frame(DATA, 1, WINDOW, b"x")],
        [Frame(OPEN, 1, 0, b"shell"), Frame(DATA, 1, 2**64 - 1, b"xyz")],
        [Frame(OPEN, 1, 0, b"shell"), Frame(CLOSE, 1, WINDOW + 1)],
        [Frame(OPEN, 1, 0, b"shell"), Frame(CLOSE, 1, 5), Frame(CLOSE, 1, 6)],
        [Frame(OPEN, 1, 0, b"shell"), Frame(CLOSE, 1, 5), Frame(DATA, 1, 4, b"xyz")],
        [Frame(OPEN, 1, 0, b"shell"), Frame(DATA, 1, 0, b"xyz"), Frame(CLOSE, 1, 2)],
        [Frame(OPEN, id, 0, b"shell") for id in range(1, MAX_STREAMS + 1)],
        [Frame(OPEN, 1, 0, b"shel")],
        [Frame(OPEN, 1, 0, b"\xff\x00")],
        [Frame(OPEN, 1, 0, AGENT.encode())],
    ],
    ids=lambda frames: repr((frames[-1], frames[-1].payload)),
)
def test_what_ends_the_agents_carrier(frames: list[Frame]) -> None:
    with pytest.raises(ProtocolError):
        agent().feed(*frames)


def test_what_came_before_the_frame_that_ends_a_carrier_is_delivered() -> None:
    end = agent()
    with pytest.raises(ProtocolError):
        end.feed(Frame(OPEN, 1, 0, b"shell"), Frame(DATA, 1, 0, b"abc"), Frame(HELLO))
    assert end.attachment.streams[1].position == 3


def test_frames_of_unknown_streams_do_nothing() -> None:
    for end in (agent(), client(0)):
        end.drained()
        frames = [Frame(type, 99, 5, b"x" * (type == DATA)) for type in (DATA, ACK, CLOSE, GONE)]
        assert end.feed(*frames) == []
        assert list(end.attachment.streams) == [CONTROL]
        assert end.drained() == []


def test_an_id_is_never_used_again() -> None:
    end = agent()
    for id in (1, 2, 7):
        end.carrier = end.another()
        end.feed(Frame(OPEN, id, 0, b"shell"))
        end.feed(Frame(CLOSE, id, 0))
        assert id not in end.attachment.streams
        end.drained()
        end.carrier = end.another()
        for _ in range(3):
            assert end.feed(Frame(OPEN, id, 0, b"shell")) == []
            assert [(f.type, f.stream) for f in end.drained()] == [(GONE, id)]
            end.attachment.forget_before(id, 0.0)
    assert list(end.attachment.streams) == [CONTROL]


def test_forgets_what_the_client_forgot() -> None:
    end = agent()
    end.feed(*[Frame(OPEN, id, 0, b"shell") for id in (0, 1, 2, 3, 9)])
    end.feed(Frame(CLOSE, 3, 0))
    end.driver.ended.clear()
    end.attachment.forget_before(3, 0.0)
    assert end.driver.ended == [1, 2]
    assert list(end.attachment.streams) == [CONTROL, 9]
    end.attachment.forget_before(2, 0.0)  # from a carrier that was late
    assert 3 in end.attachment._over
    assert end.feed(Frame(OPEN, 2, 0, b"shell")) == []


def test_what_is_over_takes_no_memory_though_an_old_stream_lives_on() -> None:
    """A heartbeat that is answered too late closes and opens again each second, for days."""
    end = agent()
    end.feed(Frame(OPEN, 1, 0, b"shell"))
    for id in range(2, 5000):
        end.feed(Frame(OPEN, id, 0, b"hb"), Frame(CLOSE, id, 0))
        end.drained()
    assert list(end.attachment.streams) == [CONTROL, 1]
    assert end.attachment._over.ranges == 1
    for id in (2, 3000, 4999):
        assert end.feed(Frame(OPEN, id, 0, b"hb")) == []


def test_ids_far_apart_are_no_client_of_ours() -> None:
    end = agent()
    end.feed(Frame(OPEN, 1, 0, b"shell"))
    with pytest.raises(ProtocolError):  # noqa: PT012
        for id in range(3, 5 * MAX_STREAMS, 2):
            end.feed(Frame(OPEN, id, 0, b"hb"), Frame(CLOSE, id, 0))
    assert end.attachment._over.ranges <= MAX_STREAMS


def test_the_oldest_stream() -> None:
    end = client(5)
    attachment = end.attachment
    assert attachment.oldest == 1
    end.feed(Frame(GONE, 1), Frame(GONE, 3))
    assert attachment.oldest == 2
    end.feed(Frame(GONE, 2), Frame(GONE, 4), Frame(GONE, 5))
    assert attachment.oldest == 6
    attachment.open("shell")
    assert attachment.oldest == 6


def test_streams_that_the_agent_never_heard_of_leave_nothing() -> None:
    end = client()
    attachment = end.attachment
    for _ in range(10_000):
        attachment.close(attachment.open("hb"), 0.0)
    assert list(attachment.streams) == [CONTROL, 1]
    low, high = attachment.open("hb"), attachment.open("hb")
    assert (low.id, high.id) == (2, 3)
    end.feed(Frame(GONE, 1))
    attachment.close(low, 0.0)
    attachment.add(end.another(), [high])
    assert attachment.oldest == 2  # which may be used yet
    assert attachment.open("shell").id == 2


def test_streams_take_turns() -> None:
    end = client(3)
    end.drained()
    end.driver.has_room = end.carrier.has_room = False
    streams = [stream for stream in end.attachment.streams.values() if stream.id != CONTROL]
    for stream in streams:
        end.attachment.write(stream, bytes(4 * CHUNK), 0.0)
    frames = FrameReader().feed(b"".join(end.carrier.drain(0.0, 2**30)))
    starts = [f.stream for f in frames if f.position % CHUNK == 0]
    assert sorted(starts[:3]) == sorted(starts[3:6]) == [1, 2, 3]


def test_drains_about_as_much_as_there_is_room() -> None:
    end = client()
    end.attachment.streams[1].write(bytes(10 * CHUNK))
    end.carrier.has_room = False
    assert sum(map(len, end.carrier.drain(0.0, 0))) == 2 * HEADER.size + 10  # two times OPEN
    assert end.carrier.drain(0.0, 0) == []
    size = sum(map(len, end.carrier.drain(0.0, 3 * CHUNK)))
    assert 3 * CHUNK <= size <= 4 * CHUNK + 100


def test_random_bytes() -> None:
    rng = random.Random(2)
    for round in range(2000):
        end = (agent, client)[round % 2]()
        try:
            for _ in range(20):
                data = bytes([rng.randint(1, 10)]) + rng.randbytes(rng.randint(0, 40))
                end.attachment.receive(end.carrier, end.carrier.feed(data), 0.0)
        except ProtocolError:
            pass


def test_random_frames() -> None:
    """Frames as a peer would send, with fields that it would not: ends, or nothing unbounded."""
    rng = random.Random(3)
    numbers = (0, 1, 2, 3, 10, 300, CHUNK, WINDOW - 1, WINDOW, WINDOW + 1, 2**63, 2**64 - 1)
    ended = 0
    for round in range(4000):
        end = (agent, client)[round % 2]()
        types = (OPEN, DATA, DATA, ACK, CLOSE, GONE, PING, rng.randint(1, 10))
        try:
            for _ in range(40):
                type = rng.choice(types)
                payload = bytes(rng.randint(1, 60)) if type in LIMITS else b""
                if type == OPEN:
                    payload = b"shell"
                frame = Frame(type, rng.randint(0, 2), rng.choice(numbers), payload)
                end.driver.takes = rng.random() < 0.5
                end.driver.has_room = end.carrier.has_room = rng.random() < 0.3
                for stream in end.feed(frame):
                    if stream.id in end.attachment.streams:
                        end.attachment.write(stream, bytes(rng.randint(0, 100)), 0.0)
                        if rng.random() < 0.1:
                            end.attachment.close(stream, 0.0)
        except ProtocolError:
            ended += 1
        assert len(end.attachment.streams) <= 3
        for stream in end.attachment.streams.values():
            held = stream._beyond.size + sum(map(len, stream._arrived))
            assert held < 40 * 60
    assert 1000 < ended < 4000


def test_64_megabytes_through_a_pair_of_carriers_are_quick() -> None:
    here, there = client(), agent()
    stream = here.attachment.streams[1]
    for _ in range(256):
        stream.write(bytes(CHUNK))
    began = time.perf_counter()
    here.attachment.pump(here.carrier, 1.0)
    while here.driver.sent:
        data, here.driver.sent = b"".join(here.driver.sent), []
        for start in range(0, len(data), 65536):
            frames = there.carrier.feed(data[start : start + 65536])
            there.attachment.receive(there.carrier, frames, 1.0)
        data, there.driver.sent = b"".join(there.driver.sent), []
        here.attachment.receive(here.carrier, here.carrier.feed(data), 1.0)
    assert there.attachment.streams[1].position == 256 * CHUNK
    assert time.perf_counter() - began < 10
