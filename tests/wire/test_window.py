"""The window of a stream, on paths of known speed: so many bytes a second behind a delay."""

from __future__ import annotations

import pytest

from sshpyk.wire.window import LEAST, PATIENCE, Path, Window

MOST = 16 * 1024 * 1024
PIECE = 64 * 1024


def send_for(window: Window, seconds: float, *, rate: float, delay: float) -> tuple[float, float]:
    """Always have more to send, over a path of `rate` bytes a second and a round trip of `delay`.

    Returns the share of the rate that was used in the last half, and the longest time in line
    there, in seconds.
    """
    now = free = 0.0
    sent = acknowledged = 0
    coming: list[tuple[float, int]] = []
    used, waited = 0, 0.0
    while now < seconds:
        while sent + PIECE - acknowledged <= window.size:
            free = max(free, now) + PIECE / rate
            sent += PIECE
            window.sent(sent, now)
            coming.append((free + delay, sent))
            if now > seconds / 2:
                waited = max(waited, free - now)
        now, acknowledged = coming.pop(0)
        window.acknowledged(acknowledged, now)
        if now > seconds / 2:
            used += PIECE
    return used / (rate * seconds / 2), waited


@pytest.mark.parametrize("delay", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("rate", [1e6, 2e7, 2e8])
def test_fills_the_path_and_does_not_stand_in_line(rate: float, delay: float) -> None:
    share, waited = send_for(Window(MOST), 20.0, rate=rate, delay=delay)
    reachable = min(1.0, MOST / delay / rate)
    assert share >= 0.9 * reachable
    assert waited <= 2 * PATIENCE + LEAST / rate


def test_streams_that_share_a_path_stand_in_line_once() -> None:
    """Six downloads of a browser, begun one behind the other; they would make six lines."""
    rate, delay = 1e7, 0.02
    path = Path()
    windows = [Window(MOST, path) for _ in range(6)]
    sent, acknowledged = [0] * 6, [0] * 6
    coming: list[tuple[float, int, int]] = []
    now = free = waited = 0.0
    while now < 20.0:
        for number, window in enumerate(windows[: 1 + int(now)]):
            while sent[number] + PIECE - acknowledged[number] <= window.size:
                free = max(free, now) + PIECE / rate
                sent[number] += PIECE
                window.sent(sent[number], now)
                coming.append((free + delay, number, sent[number]))
                if now > 10.0:
                    waited = max(waited, free - now)
        now, number, acknowledged[number] = coming.pop(0)
        windows[number].acknowledged(acknowledged[number], now)
    assert path.busy == 6
    assert sum(acknowledged) > 0.9 * rate * 20.0
    assert min(sent) > 0.1 * max(sent)
    assert waited <= 2 * PATIENCE + 2 * LEAST / rate
    for window in windows:
        window.forget()
    assert path.busy == 0


def test_small_messages_say_nothing_of_the_path() -> None:
    window = Window(MOST)
    before = window.size
    for number in range(100):
        window.sent(1000 * (number + 1), float(number))
        window.acknowledged(1000 * (number + 1), number + 0.9)
    assert window.size == before


def test_a_path_that_becomes_slow_is_noticed() -> None:
    window = Window(MOST)
    send_for(window, 5.0, rate=2e8, delay=0.01)
    assert window.size > MOST / 4
    window.forget()
    _, waited = send_for(window, 10.0, rate=2e6, delay=0.01)
    assert waited <= 2 * PATIENCE + LEAST / 2e6


def test_never_beyond_its_limit() -> None:
    window = Window(1000)
    assert window.size == 1000
    send_for(Window(PIECE * 2), 1.0, rate=1e9, delay=0.001)
