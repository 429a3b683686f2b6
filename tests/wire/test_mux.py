"""The mux: what goes in at one end comes out at the other, whatever the pipe cuts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.wire.frames import ProtocolError
from sshpyk.wire.mux import CHUNK, CLOSE, DATA, HEADER, OPEN, WINDOW, Event, Mux


def carry(source: Mux, sink: Mux, dice: random.Random) -> list[Event]:
    """Take all that `source` has to `sink`, cut anywhere; what came."""
    data = b""
    while piece := source.next():
        data += piece
    events = []
    while data:
        cut = dice.choice((1, 7, 100, 5000, 100_000))
        events += sink.receive(data[:cut])
        data = data[cut:]
    return events


@given(
    st.lists(st.lists(st.integers(1, 3 * CHUNK), max_size=4), min_size=1, max_size=4), st.randoms()
)
def test_bytes_arrive_in_order(sizes: list[list[int]], dice: random.Random) -> None:
    client, relay = Mux(is_client=True), Mux(is_client=False)
    sent = {}
    for pieces in sizes:
        id = client.open("/tmp/x")
        sent[id] = b"".join(dice.randbytes(1) * size for size in pieces)
        client.write(id, sent[id])
        client.close(id)
    got = dict.fromkeys(sent, b"")
    ended = []
    for event in carry(client, relay, dice):
        if event.type == DATA:
            got[event.connection] += event.payload
        elif event.type == CLOSE:
            ended.append(event.connection)
    assert got == sent
    assert sorted(ended) == sorted(sent)
    assert carry(relay, client, dice) == []  # the answers to CLOSE
    assert client._connections == relay._connections == {}


def test_a_small_reply_waits_for_one_chunk_and_a_gigabyte_for_credit() -> None:
    client, relay = Mux(is_client=True), Mux(is_client=False)
    big, small = client.open("/a"), client.open("/b")
    relay.receive(client.next())
    relay.write(big, bytes(2 * WINDOW))
    assert len(relay.next()) == HEADER.size + CHUNK
    relay.write(small, b"reply")
    relay.next()
    assert relay.next() == HEADER.pack(DATA, small, 5) + b"reply"
    while relay.next():
        pass
    assert relay.waiting(big) == WINDOW
    client.consumed(big, WINDOW)
    relay.receive(client.next())
    assert len(relay.next()) == HEADER.size + CHUNK


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * HEADER.size,
        HEADER.pack(DATA, 1, 5),
        HEADER.pack(CLOSE, 1, 0),
        HEADER.pack(OPEN, 1, 5000),
        HEADER.pack(OPEN, 1, 1) + b"/" + HEADER.pack(DATA, 1, CHUNK + 1),
    ],
)
def test_what_no_peer_sends(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Mux(is_client=False).receive(data)
