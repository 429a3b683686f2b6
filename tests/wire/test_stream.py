"""Streams on a fake wire: the common suite, many schedules, every byte boundary, and numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sshpyk.wire import stream as stream_module
from sshpyk.wire.attachment import CONTROL
from sshpyk.wire.carrier import Carrier
from sshpyk.wire.frames import ACK, CHUNK, CLOSE, DATA, Frame, ProtocolError
from sshpyk.wire.stream import ACK_DELAY, ACK_EVERY, WINDOW, Stream

from .check_stream import CHECKS
from .fakewire import FakeWire
from .pair import Pair, Wire
from .schedules import ACTIONS, Action, Play, schedule


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which everything matters after a few bytes."""
    monkeypatch.setattr(stream_module, "WINDOW", 300)
    monkeypatch.setattr(stream_module, "CHUNK", 64)
    monkeypatch.setattr(stream_module, "ACK_EVERY", 100)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_on_the_fake_wire(check: Callable[[Wire], None]) -> None:
    check(FakeWire())


#: Seeded schedules that are played; by hand many more (SSHPYK_SCHEDULES=100000).
SCHEDULES = int(os.environ.get("SSHPYK_SCHEDULES", "1000"))


@pytest.mark.usefixtures("small")
@pytest.mark.slow
def test_seeded_schedules() -> None:
    for seed in range(SCHEDULES):
        try:
            Play(schedule(seed), seed)
        except Exception as error:
            raise AssertionError(f"in the schedule of seed {seed}") from error


@pytest.mark.usefixtures("small")
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.builds(
            Action,
            st.sampled_from(ACTIONS),
            st.integers(0, 9),
            st.integers(0, 1),
            st.integers(0, 99),
        ),
        max_size=60,
    ),
    st.integers(0, 2**16),
)
def test_any_schedule(actions: list[Action], seed: int) -> None:
    Play(actions, seed)


def converse(wire: FakeWire, new_generation: bool = False) -> Pair:
    """A conversation in which every kind of frame occurs."""
    pair = Pair(wire)
    if new_generation:
        wire.on_cut = pair.client.reconnect
    second, third = pair.open(), pair.open("iopub")
    pair.client.say()
    pair.run_until(lambda: len(pair.agent.streams) == 3)
    pair.agent.write(second, b"a greeting" * 10)
    pair.agent.say()
    for _ in range(3):
        pair.step()
        pair.wire.wait(0.05)
    pair.client.write(second, b"a request" * 20)
    pair.client.close(second)
    pair.agent.write(third, b"output")
    pair.agent.close(third)
    pair.settle()
    return pair


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("new_generation", [False, True])
def test_cut_at_every_byte(new_generation: bool) -> None:
    whole = FakeWire()
    converse(whole)
    assert whole.brought > 800
    for size in range(whole.brought + 1):
        wire = FakeWire(cut_after=size)
        pair = converse(wire, new_generation)
        assert list(pair.client.streams) == list(pair.agent.streams) == [CONTROL]


def frames(stream: Stream, now: float) -> list[Frame]:
    """Everything that it sends at `now`."""
    result = []
    while stream.has_frame(now):
        frame = stream.next_frame(now)
        assert frame is not None
        result.append(frame)
    assert stream.next_frame(now) is None
    return result


def test_acknowledges_after_a_while() -> None:
    stream = Stream(1, "shell")
    for number in range(10):
        stream.receive(Frame(DATA, 1, number, b"x"), 5.0 + number / 1000)
        stream.consume(1, 5.0 + number / 1000)
    assert stream.next_deadline() == 5.0 + ACK_DELAY
    assert frames(stream, 5.0 + ACK_DELAY - 0.001) == []
    (ack,) = frames(stream, 5.0 + ACK_DELAY)
    assert (ack.type, ack.position) == (ACK, 10)
    assert stream.next_deadline() is None
    assert frames(stream, 1000.0) == []


def test_acknowledges_after_so_many_bytes() -> None:
    stream = Stream(1, "shell")
    total = 20 * ACK_EVERY
    acks = []
    for position in range(0, total, 64 * 1024):
        stream.receive(Frame(DATA, 1, position, bytes(64 * 1024)), 5.0)
        stream.consume(64 * 1024, 5.0)
        acks += frames(stream, 5.0)
    assert [ack.position for ack in acks] == list(range(ACK_EVERY, total + 1, ACK_EVERY))


def test_does_not_acknowledge_what_was_not_delivered() -> None:
    stream = Stream(1, "shell")
    stream.receive(Frame(DATA, 1, 0, bytes(ACK_EVERY)), 5.0)
    assert frames(stream, 100.0) == []


def test_acknowledges_seldom_on_a_busy_wire() -> None:
    wire = FakeWire()
    pair = Pair(wire)
    id = pair.open()
    for _ in range(200):
        pair.client.write(id, bytes(100))
        pair.step()
        wire.wait(0.01)
    acks = [frame for frame in pair.agent.frames if frame.type == ACK and frame.stream == id]
    # Two seconds, one each tenth of a second, and one that answered OPEN.
    assert 15 <= len(acks) <= 22
    assert not [frame for frame in pair.client.frames if frame.type == ACK and frame.stream == id]


def test_sends_no_more_than_the_window() -> None:
    stream = Stream(1, "shell")
    sent = acknowledged = most = 0
    now = 5.0
    for _ in range(200):
        stream.write(bytes(WINDOW // 4))
        found = [frame for frame in frames(stream, now) if frame.type == DATA]
        assert all(len(frame.payload) <= CHUNK for frame in found)
        sent += sum(len(frame.payload) for frame in found)
        most = max(most, sent - acknowledged)
        # On a fast wire all of it is soon allowed.
        now += 0.001
        acknowledged += (sent - acknowledged) // 4
        stream.receive(Frame(ACK, 1, acknowledged), now)
    assert most == WINDOW
    stream.resend()
    again = [frame for frame in frames(stream, now) if frame.type == DATA]
    assert again[0].position == acknowledged
    assert sum(len(frame.payload) for frame in again) == WINDOW


def test_takes_a_gap_that_is_repeated_for_ever() -> None:
    """One carrier is stuck with the first byte, and the other ones are lost again and again."""
    stream = Stream(1, "iopub")
    for attempt in range(10):
        size = 50_000 + attempt
        for position in range(1, WINDOW, size):
            data = bytes(min(size, WINDOW - position))
            stream.receive(Frame(DATA, 1, position, data), 5.0)
        assert stream.peek() == b""
    assert held(stream) == WINDOW - 1
    stream.receive(Frame(DATA, 1, 0, b"\0"), 5.0)
    received = 0
    while piece := stream.peek():
        received += len(piece)
        stream.consume(len(piece), 5.0)
    assert received == WINDOW
    assert held(stream) == 0


def held(stream: Stream) -> int:
    return stream._beyond.size


@pytest.mark.usefixtures("small")
def test_both_close_with_full_windows() -> None:
    pair = Pair(FakeWire())
    id = pair.open()
    for end in (pair.client, pair.agent):
        end.endpoints[id].room = 0
        pair.run_until(lambda: id in pair.agent.streams)
        end.write(id, bytes(10_000))
    for _ in range(10):
        pair.step()
        pair.wire.wait(0.1)
    pair.client.close(id)
    pair.agent.close(id)
    pair.settle()


def test_acknowledges_a_close_that_it_completes_by_its_own() -> None:
    stream = Stream(1, "shell")
    stream.receive(Frame(DATA, 1, 0, b"unwanted"), 5.0)
    stream.receive(Frame(CLOSE, 1, 8), 5.0)
    assert [frame.position for frame in frames(stream, 6.0)] == [0]
    assert not stream.over
    Carrier(mock.Mock(), CHUNK).carry(stream)
    stream.close()
    assert (stream.over, stream.done) == (True, False)
    assert [frame.position for frame in frames(stream, 6.0)] == [9]
    assert (stream.over, stream.done) == (True, True)


def test_nothing_stays_when_the_last_acknowledgement_is_lost() -> None:
    """The agent closes, the client has seen it, and then the wire breaks: both forget, although
    an older stream lives on."""
    for drop in range(6):
        pair = Pair(FakeWire())
        pair.open("shell")
        id = pair.open()
        pair.run_until(lambda pair=pair: len(pair.agent.streams) == 3)  # type: ignore[misc]
        pair.agent.write(id, b"last words")
        pair.agent.close(id)
        for _ in range(drop):
            pair.step()
            pair.wire.wait(0.01)
        pair.client.step()
        pair.wire.cut()
        pair.client.reconnect()
        pair.settle()
        assert list(pair.agent.streams) == list(pair.client.streams) == [0, 1]
        assert pair.client.endpoints[id].received == 10


def test_carriers_of_an_old_generation_are_refused() -> None:
    wire = FakeWire()
    pair = Pair(wire)
    id = pair.open()
    pair.client.step()
    old = list(wire.connections)
    for connection in old:
        connection.other.silent = True
    pair.client.reconnect()
    pair.client.write(id, b"new")
    pair.run_until(lambda: pair.agent.endpoints[id].received == 3)
    for connection in old:
        connection.other.silent = False
    pair.run_until(lambda: pair.agent.refused == len(old))
    pair.settle()


def test_memory_of_closed_streams_is_released() -> None:
    pair = Pair(FakeWire())
    streams = []
    for _ in range(50):
        id = pair.open()
        streams.append(pair.client.streams[id])
        pair.client.write(id, bytes(1000))
        pair.run_until(lambda id=id: id in pair.agent.streams)  # type: ignore[misc]
        streams.append(pair.agent.streams[id])
        pair.agent.write(id, bytes(1000))
        pair.client.close(id)
        pair.settle()
    assert all(stream.unacknowledged == 0 and not stream.carriers for stream in streams)
    assert pair.agent.attachment._over.ranges <= 1
    assert id in pair.agent.attachment._over  # which the next HELLO will clear
    pair.run_until(lambda: len(pair.client.links) == len(pair.agent.links) == 1)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(ACK, 1, 6),
        Frame(ACK, 1, 2**64 - 1),
        Frame(DATA, 1, WINDOW, b"x"),
        Frame(DATA, 1, 2**64 - 1, b"x"),
        Frame(CLOSE, 1, 2),
        Frame(CLOSE, 1, WINDOW + 10),
    ],
    ids=repr,
)
def test_refuses_what_no_peer_sends(frame: Frame) -> None:
    stream = Stream(1, "shell")
    stream.write(b"12345")
    stream.receive(Frame(DATA, 1, 0, b"123"), 5.0)
    with pytest.raises(ProtocolError):
        stream.receive(frame, 5.0)


def test_refuses_data_behind_the_end() -> None:
    stream = Stream(1, "shell")
    stream.receive(Frame(CLOSE, 1, 3), 5.0)
    with pytest.raises(ProtocolError):
        stream.receive(Frame(DATA, 1, 2, b"ab"), 5.0)
    with pytest.raises(ProtocolError):
        stream.receive(Frame(CLOSE, 1, 4), 5.0)


def test_a_million_tiny_writes_are_quick() -> None:
    stream, peer = Stream(1, "iopub"), Stream(1, "iopub")
    received = 0
    for _ in range(1_000_000):
        stream.write(b"0123456789")
    while received < 10_000_000:
        for frame in frames(stream, 5.0):
            peer.receive(frame, 5.0)
        while piece := peer.peek():
            received += len(piece)
            peer.consume(len(piece), 5.0)
        for frame in frames(peer, 6.0):
            stream.receive(frame, 6.0)
    assert stream.unacknowledged == 0


def test_what_was_kept_for_a_peer_that_has_closed_is_dropped() -> None:
    stream = Stream(1, "iopub")
    stream.write(b"unwanted")
    stream.receive(Frame(CLOSE, 1, 0), 5.0)
    assert stream.unacknowledged == 0
    (ack,) = frames(stream, 5.0)
    assert (ack.type, ack.position) == (ACK, 1)


def test_what_comes_twice_is_acknowledged_again() -> None:
    stream = Stream(1, "iopub")
    for _ in range(2):
        stream.receive(Frame(DATA, 1, 0, b"once"), 5.0)
        while piece := stream.peek():
            stream.consume(len(piece), 5.0)
        assert [frame.position for frame in frames(stream, 5.0 + ACK_DELAY)] == [4]
    assert stream.position == 4


def test_gone_is_no_close_to_acknowledge() -> None:
    """A peer that gave the stream up never closed, and takes no acknowledgement of that."""
    stream = Stream(1, "iopub")
    stream.receive(Frame(DATA, 1, 0, b"abc"), 5.0)
    stream.consume(3, 5.0)
    stream.write(b"unwanted")
    stream.gone()
    assert (stream.over, stream.unacknowledged) == (True, 0)
    stream.acknowledge_now(5.0)
    assert [frame.position for frame in frames(stream, 5.0)] == [3]
