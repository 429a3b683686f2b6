"""What each side of a helper's program counts, and what it does not believe."""

from __future__ import annotations

import pytest

from sshpyk.agent.helper import CHUNK, MESSAGES, WINDOW, Received, Sent


def test_no_more_is_on_the_way_than_is_allowed() -> None:
    sent, received = Sent(), Received()
    while size := sent.room():
        received.receive(sent.send(size), size)
    assert sent.position == WINDOW
    # Small messages are limited by their number.
    small = Sent()
    while small.room():
        small.send(1)
    assert small.position == MESSAGES


def test_all_that_is_taken_is_told_before_the_sender_has_no_room() -> None:
    sent, received = Sent(), Received()
    for size in [1] * (3 * MESSAGES) + [CHUNK] * (3 * WINDOW // CHUNK):
        assert sent.room() >= size
        received.receive(sent.send(size), size)
        told = received.take(size)
        if told is not None:
            sent.got(told)


@pytest.mark.parametrize("at", [1, -1, "0", None, True, 0.0])
def test_a_message_that_is_not_the_next_one_is_noticed(at: object) -> None:
    with pytest.raises(ValueError, match="not the next one"):
        Received().receive(at, 1)


def test_more_than_was_allowed_is_noticed() -> None:
    received = Received()
    received.receive(0, WINDOW)
    with pytest.raises(ValueError, match="more bytes"):
        received.receive(WINDOW, 1)


@pytest.mark.parametrize("position", [11, -1, "1", None, 1.0])
def test_what_was_not_sent_can_not_have_been_taken(position: object) -> None:
    sent = Sent()
    sent.send(10)
    with pytest.raises(ValueError, match="not sent"):
        sent.got(position)
