"""The mux: what goes in at one end comes out at the other, whatever the pipe cuts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sshpyk.wire.frames import ProtocolError
from sshpyk.wire.mux import (
    CHUNK,
    CLOSE,
    CREDIT,
    CREDIT_EVERY,
    DATA,
    HEADER,
    OPEN,
    PING,
    PONG,
    REFUSED,
    WINDOW,
    Event,
    Mux,
)

#: What an end sends on a connection at once: a word, some frames, more than the window.
SIZES = st.sampled_from((1, 300, CHUNK - 1, CHUNK, 3 * CHUNK + 5, WINDOW // 2, WINDOW + CHUNK))


class End:
    """An end, and what an application at it has sent, received and delivered."""

    def __init__(self, *, is_client: bool) -> None:
        self.mux = Mux(is_client=is_client)
        self.pipe = b""  # on the way to the other end
        self.sent: dict[int, bytes] = {}
        self.got: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.undelivered: dict[int, int] = {}

    def write(self, id: int, data: bytes) -> None:
        self.mux.write(id, data)
        self.sent[id] += data

    def pump(self) -> None:
        while piece := self.mux.next():
            assert len(piece) <= CHUNK + 2 * HEADER.size
            self.pipe += piece

    def receive(self, data: bytes) -> None:
        for event in self.mux.receive(data):
            id = event.connection
            if event.type == OPEN:
                self.sent[id] = self.got[id] = b""
            elif event.type == DATA:
                self.got[id] += event.payload
                self.undelivered[id] = self.undelivered.get(id, 0) + len(event.payload)
                assert self.undelivered[id] <= WINDOW
            else:
                assert event.type == CLOSE
                self.ended.append(id)

    def deliver(self, dice: random.Random) -> None:
        for id, size in self.undelivered.items():
            some = dice.choice((0, size // 2, size))
            self.mux.consumed(id, some)
            self.undelivered[id] -= some


def carry(one: End, other: End, dice: random.Random) -> None:
    """Take some of what is on the way from one end to the other, cut anywhere."""
    one.pump()
    size = dice.choice((1, 8, 9, 10, CHUNK, len(one.pipe)))
    data, one.pipe = one.pipe[:size], one.pipe[size:]
    other.receive(data)


def carry_all(one: End, other: End) -> None:
    """The same with all there is, in both directions."""
    for end, peer in ((one, other), (other, one)):
        end.pump()
        peer.receive(end.pipe)
        end.pipe = b""


@settings(max_examples=50)
@given(
    writes=st.lists(st.tuples(st.booleans(), st.integers(0, 2), SIZES), min_size=1, max_size=10),
    dice=st.randoms(use_true_random=False),
)
def test_both_ways_all_bytes_arrive_in_order(
    writes: list[tuple[bool, int, int]], dice: random.Random
) -> None:
    """However slowly either end delivers, and wherever the pipe cuts."""
    ends = client, relay = End(is_client=True), End(is_client=False)
    ids = [client.mux.open(f"/{number}") for number in range(3)]
    client.sent, client.got = dict.fromkeys(ids, b""), dict.fromkeys(ids, b"")
    carry_all(*ends)
    for by_client, connection, size in writes:
        (client if by_client else relay).write(ids[connection], dice.randbytes(1) * size)
        carry(client, relay, dice)
        carry(relay, client, dice)
        for end in ends:
            end.deliver(dice)
    for _ in range(2 + sum(size for _, _, size in writes) // CREDIT_EVERY):
        carry_all(*ends)
        for end in ends:
            for id, size in end.undelivered.items():
                end.mux.consumed(id, size)
                end.undelivered[id] = 0
    assert client.sent == relay.got
    assert relay.sent == client.got
    for id in ids:
        dice.choice(ends).mux.close(id)
    carry_all(*ends)
    carry_all(*ends)
    assert sorted(client.ended + relay.ended) == ids
    assert client.mux._connections == relay.mux._connections == {}


def opened(count: int) -> tuple[Mux, Mux, list[int]]:
    """Both ends, and connections that both know."""
    client, relay = Mux(is_client=True), Mux(is_client=False)
    ids = [client.open(f"/{number}") for number in range(count)]
    relay.receive(client.next())
    return client, relay, ids


def test_a_reply_overtakes_a_gigabyte() -> None:
    """It waits for no more than a chunk of each connection that is before it in line."""
    _, relay, (big, other, small) = opened(3)
    block = bytes(1 << 20)
    for _ in range(1024):
        relay.write(big, block)
    relay.write(other, block)
    relay.next()
    relay.write(small, b"reply")
    before = 0
    while not (piece := relay.next()).endswith(b"reply"):
        before += len(piece)
    assert piece == HEADER.pack(DATA, small, 5) + b"reply"
    assert before == 2 * (CHUNK + HEADER.size)


def test_no_more_is_sent_than_there_is_credit() -> None:
    client, relay, (id,) = opened(1)
    relay.write(id, bytes(2 * WINDOW))
    sent = 0
    while piece := relay.next():
        sent += len(piece) - HEADER.size
        client.receive(piece)
    assert sent == relay.waiting(id) == WINDOW
    client.consumed(id, CREDIT_EVERY - 1)
    assert client.next() == b""  # too little to tell of
    client.consumed(id, 1)
    relay.receive(client.next())
    for _ in range(CREDIT_EVERY // CHUNK):
        client.receive(relay.next())
    assert relay.next() == b""
    with pytest.raises(ProtocolError, match="more bytes than were allowed"):
        client.receive(HEADER.pack(DATA, id, 1) + b"x")


def test_what_waits_is_sent_before_a_close_and_not_before_an_abort() -> None:
    client, relay, (one, other) = opened(2)
    for id in (one, other):
        client.write(id, bytes(CHUNK + 1))
    client.close(one)
    client.abort(other)
    events: list[Event] = []
    while piece := client.next():
        events += relay.receive(piece)
    assert [(e.type, e.connection, len(e.payload)) for e in events] == [
        (CLOSE, other, 0),
        (DATA, one, CHUNK),
        (DATA, one, 1),
        (CLOSE, one, 0),
    ]


def test_what_crosses_a_close_is_dropped() -> None:
    client, relay, (id,) = opened(1)
    relay.write(id, b"late")
    late = relay.next()
    client.abort(id)
    assert client.receive(late) == []
    assert [event.type for event in relay.receive(client.next())] == [CLOSE]
    assert client.receive(relay.next()) == []
    client.write(id, b"too late")
    assert client.next() == b""


def test_a_refusal_says_why() -> None:
    client, relay, (id,) = opened(1)
    relay.abort(id, "no socket there")
    (event,) = client.receive(relay.next())
    assert (event.type, event.payload) == (REFUSED, b"no socket there")


def test_a_ping_is_answered_before_all_that_waits() -> None:
    client, relay, (id,) = opened(1)
    relay.write(id, bytes(WINDOW))
    client.ping()
    assert relay.receive(client.next()) == []
    pong = relay.next()
    assert pong == HEADER.pack(PONG, 0, 0)
    assert client.receive(pong) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * HEADER.size,
        b"hello, this is no relay",
        HEADER.pack(PONG + 1, 0, 0),
        HEADER.pack(PING, 0, 1),
        HEADER.pack(DATA, 1, 5),
        HEADER.pack(CLOSE, 1, 0),
        HEADER.pack(CREDIT, 1, 1),
        HEADER.pack(OPEN, 1, 5000),
        HEADER.pack(OPEN, 1, 1) + b"/" + HEADER.pack(OPEN, 1, 1) + b"/",
        HEADER.pack(OPEN, 1, 1) + b"/" + HEADER.pack(DATA, 1, CHUNK + 1),
        HEADER.pack(OPEN, 1, 1) + b"/" + HEADER.pack(CREDIT, 1, 1),
        HEADER.pack(OPEN, 1, 1) + b"/" + HEADER.pack(CLOSE, 1, 1),
    ],
)
def test_what_no_peer_sends(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Mux(is_client=False).receive(data)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_whatever_comes_is_events_or_a_protocol_error(data: bytes, cut: int) -> None:
    _, relay, _ = opened(1)
    try:
        relay.receive(data[:cut])
        relay.receive(data[cut:])
    except ProtocolError:
        pass
