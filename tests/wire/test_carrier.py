"""Carriers: what they say to whom, and what hostile bytes can do to them: end them, no more."""

from __future__ import annotations

import random
import time

import pytest

from sshpyk.wire.carrier import MAX_STREAMS, MAX_WAITING, Attachment, Carrier
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
)
from sshpyk.wire.stream import WINDOW, Stream


def agent_carrier() -> tuple[Attachment, Carrier]:
    """The agent's, after a good HELLO."""
    attachment = Attachment("attachment")
    carrier = Carrier()
    carrier.attachment = attachment
    return attachment, carrier


def client_carrier(streams: int = 1) -> tuple[Attachment, Carrier]:
    attachment = Attachment("attachment")
    carrier = Carrier(attachment)
    for _ in range(streams):
        carrier.announce(attachment.open("shell"))
    return attachment, carrier


def feed(carrier: Carrier, *frames: Frame, now: float = 0.0) -> list[Frame | Stream]:
    return list(carrier.receive(b"".join(frame.encode() for frame in frames), now))


def drained(carrier: Carrier, now: float = 0.0) -> list[Frame]:
    return FrameReader().feed(b"".join(carrier.drain(now, 2**30)))


@pytest.mark.parametrize("type", range(HELLO + 1, PONG + 1))
def test_nothing_before_hello(type: int) -> None:
    carrier = Carrier()
    with pytest.raises(ProtocolError):
        feed(carrier, Frame(type, 0, 0, b"x" if type == DATA else b""))
    assert drained(carrier) == []


def test_frames_in_the_bytes_of_the_hello() -> None:
    """The driver answers HELLO before the next frame is looked at."""
    carrier = Carrier()
    frames = (Frame(HELLO, payload=b"{}"), Frame(OPEN, 1, 0, b"shell"), Frame(DATA, 1, 0, b"abc"))
    attachment = Attachment("attachment")
    for event in carrier.receive(b"".join(frame.encode() for frame in frames), 0.0):
        if isinstance(event, Frame):
            carrier.attachment = attachment
    assert attachment.streams[1].peek() == b"abc"


def test_nothing_of_a_refused_hello_is_applied() -> None:
    with pytest.raises(ProtocolError):
        feed(Carrier(), Frame(HELLO, payload=b"{}"), Frame(OPEN, 1, 0, b"shell"))


@pytest.mark.parametrize("type", [OPEN, HELLO])
def test_what_an_agent_never_sends(type: int) -> None:
    _, carrier = client_carrier()
    with pytest.raises(ProtocolError):
        feed(carrier, Frame(type, 0, 0, b"shell"))


@pytest.mark.parametrize("type", [HELLO, WELCOME, REFUSED, PONG])
def test_what_a_client_never_sends(type: int) -> None:
    _, carrier = agent_carrier()
    with pytest.raises(ProtocolError):
        feed(carrier, Frame(type))


def test_pings_are_answered_with_their_number() -> None:
    for _, carrier in (client_carrier(0), agent_carrier()):
        assert feed(carrier, Frame(PING, 0, 12345)) == []
        (pong,) = drained(carrier)
        assert (pong.type, pong.position) == (PONG, 12345)


def test_welcome_and_pong_are_the_drivers() -> None:
    _, carrier = client_carrier(0)
    events = feed(carrier, Frame(WELCOME), Frame(PONG, 0, 3), Frame(REFUSED, payload=b"why"))
    assert [event.type for event in events if isinstance(event, Frame)] == [WELCOME, PONG, REFUSED]


def test_who_never_reads_is_ended() -> None:
    for _, carrier in (client_carrier(), agent_carrier()):
        with pytest.raises(ProtocolError):  # noqa: PT012
            for _ in range(100):
                feed(carrier, *[Frame(PING)] * 1000)
        assert len(carrier._out) <= MAX_WAITING + 1


def test_open_says_how_far_each_side_has_come() -> None:
    attachment, carrier = agent_carrier()
    (stream,) = feed(carrier, Frame(OPEN, 3, 0, b"iopub"))
    assert isinstance(stream, Stream)
    assert (stream.id, stream.channel) == (3, "iopub")
    stream.write(b"output")
    assert [frame.type for frame in drained(carrier)] == [ACK, DATA]
    carrier.lost()
    again = Carrier()
    again.attachment = attachment
    assert feed(again, Frame(OPEN, 3, 4, b"iopub")) == [stream]
    ack, data = drained(again)
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
        [Frame(OPEN, id, 0, b"shell") for id in range(MAX_STREAMS + 1)],
    ],
    ids=lambda frames: repr(frames[-1]),
)
def test_what_ends_the_agents_carrier(frames: list[Frame]) -> None:
    _, carrier = agent_carrier()
    with pytest.raises(ProtocolError):
        feed(carrier, *frames)


def test_a_channel_name_may_be_anything() -> None:
    _, carrier = agent_carrier()
    (stream,) = feed(carrier, Frame(OPEN, 1, 0, b"\xff\x00"))
    assert isinstance(stream, Stream)
    assert stream.channel.startswith("\ufffd")


def test_frames_of_unknown_streams_do_nothing() -> None:
    for attachment, carrier in (agent_carrier(), client_carrier(0)):
        frames = [Frame(type, 99, 5, b"x" * (type == DATA)) for type in (DATA, ACK, CLOSE, GONE)]
        assert feed(carrier, *frames) == []
        assert not attachment.streams
        assert drained(carrier) == []


def test_an_id_is_never_used_again() -> None:
    attachment, carrier = agent_carrier()
    for id in (0, 1, 7):
        (stream,) = feed(carrier, Frame(OPEN, id, 0, b"shell"))
        assert isinstance(stream, Stream)
        attachment.discard(stream)
        drained(carrier)
        for _ in range(3):
            assert feed(carrier, Frame(OPEN, id, 0, b"shell")) == []
            assert [(f.type, f.stream) for f in drained(carrier)] == [(GONE, id)]
            attachment.forget_before(id)
    assert not attachment.streams


def test_forgets_what_the_client_forgot() -> None:
    attachment, carrier = agent_carrier()
    feed(carrier, *[Frame(OPEN, id, 0, b"shell") for id in (0, 1, 2, 3, 9)])
    attachment.discard(attachment.streams[3])
    old = attachment.forget_before(3)
    assert [stream.id for stream in old] == [1, 2]  # 0 is the control stream, for ever
    for stream in old:
        attachment.discard(stream)
    attachment.forget_before(2)  # from a carrier that was late
    assert attachment._over == {3}
    assert feed(carrier, Frame(OPEN, 2, 0, b"shell")) == []


def test_the_oldest_stream() -> None:
    attachment, _ = client_carrier(5)
    assert attachment.oldest == 1
    attachment.discard(attachment.streams[1])
    attachment.discard(attachment.streams[3])
    assert attachment.oldest == 2
    for id in (2, 4):
        attachment.discard(attachment.streams[id])
    assert attachment.oldest == 5
    attachment.open("shell")
    assert attachment.oldest == 5


def test_discarded_streams_leave_nothing_in_the_client() -> None:
    attachment = Attachment("attachment")
    for _ in range(10_000):
        stream = attachment.open("hb")
        stream.close()
        attachment.discard(stream)
        attachment.discard(stream)
    assert not attachment.streams
    assert attachment._over <= {0}


def test_streams_take_turns() -> None:
    attachment, carrier = client_carrier(3)
    drained(carrier)
    for stream in attachment.streams.values():
        stream.write(bytes(4 * CHUNK))
    frames = drained(carrier)
    starts = [f.stream for f in frames if f.position % CHUNK == 0]
    assert sorted(starts[:3]) == sorted(starts[3:6]) == [0, 1, 2]


def test_drains_about_as_much_as_there_is_room() -> None:
    attachment, carrier = client_carrier()
    attachment.streams[0].write(bytes(10 * CHUNK))
    assert sum(map(len, carrier.drain(0.0, 0))) == HEADER.size + 5  # the OPEN
    assert carrier.drain(0.0, 0) == []
    size = sum(map(len, carrier.drain(0.0, 3 * CHUNK)))
    assert 3 * CHUNK <= size <= 4 * CHUNK + 100


def test_the_next_deadline_is_of_those_that_are_carried() -> None:
    attachment, carrier = agent_carrier()
    assert attachment.next_deadline() is None
    feed(carrier, Frame(OPEN, 1, 0, b"shell"), now=7.0)
    assert attachment.next_deadline() == 7.0
    drained(carrier, 7.0)
    assert attachment.next_deadline() is None
    carrier.lost()
    assert attachment.next_deadline() is None


def test_random_bytes() -> None:
    rng = random.Random(2)
    for round in range(2000):
        _, carrier = (agent_carrier, client_carrier)[round % 2]()
        try:
            for _ in range(20):
                data = bytes([rng.randint(1, 10)]) + rng.randbytes(rng.randint(0, 40))
                list(carrier.receive(data, 0.0))
        except ProtocolError:
            pass


def test_random_frames() -> None:
    """Frames as a peer would send, with fields that it would not: ends, or nothing unbounded."""
    rng = random.Random(3)
    numbers = (0, 1, 2, 3, 10, 300, CHUNK, WINDOW - 1, WINDOW, WINDOW + 1, 2**63, 2**64 - 1)
    ended = 0
    for round in range(4000):
        attachment, carrier = (agent_carrier, client_carrier)[round % 2]()
        types = (OPEN, DATA, DATA, ACK, CLOSE, GONE, PING, rng.randint(1, 10))
        try:
            for _ in range(40):
                type = rng.choice(types)
                payload = bytes(rng.randint(1, 60)) if type in LIMITS else b""
                frame = Frame(type, rng.randint(0, 2), rng.choice(numbers), payload)
                for event in feed(carrier, frame):
                    if isinstance(event, Stream) and rng.random() < 0.5:
                        deal_with(attachment, event, rng)
                if rng.random() < 0.3:
                    carrier.drain(0.0, 1000)
        except ProtocolError:
            ended += 1
        assert len(attachment.streams) <= 3
        for stream in attachment.streams.values():
            held = sum(len(data) for _, data in stream._beyond) + sum(map(len, stream._arrived))
            assert held < 40 * 60
    assert 1000 < ended < 4000


def deal_with(attachment: Attachment, stream: Stream, rng: random.Random) -> None:
    """Whatever a driver may do with a stream that has changed."""
    if stream.peek():
        stream.consume(rng.randint(1, len(stream.peek())), 0.0)
    stream.write(bytes(rng.randint(0, 100)))
    if rng.random() < 0.2:
        stream.close()
    if stream.done:
        attachment.discard(stream)


def test_64_megabytes_through_a_pair_of_carriers_are_quick() -> None:
    client, here = client_carrier()
    _, there = agent_carrier()
    stream = client.streams[0]
    for _ in range(256):
        stream.write(bytes(CHUNK))
    began = time.perf_counter()
    received = 0
    while received < 256 * CHUNK:
        data = b"".join(here.drain(1.0, 1024 * 1024))
        for start in range(0, len(data), 65536):
            for event in there.receive(data[start : start + 65536], 1.0):
                assert isinstance(event, Stream)
                while piece := event.peek():
                    received += len(piece)
                    event.consume(len(piece), 1.0)
            list(here.receive(b"".join(there.drain(1.0, 65536)), 1.0))
    assert time.perf_counter() - began < 10
