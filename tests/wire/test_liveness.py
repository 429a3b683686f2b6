"""When to ping, when to give up, how long to wait: all by saying what time it is."""

from __future__ import annotations

from sshpyk.wire.liveness import AWAKE_PATIENCE, PATIENCE, PING_AFTER, Backoff, Liveness, Patience


def test_silence_is_pinged_and_then_lost() -> None:
    liveness = Liveness(100.0)
    assert liveness.next_deadline() == 100.0 + PING_AFTER
    assert liveness.tick(100.0 + PING_AFTER - 0.01) is None
    assert liveness.tick(100.0 + PING_AFTER) == "ping"
    assert liveness.tick(100.0 + PING_AFTER) is None
    assert liveness.next_deadline() == 100.0 + PING_AFTER + PATIENCE
    assert liveness.tick(100.0 + PING_AFTER + PATIENCE) == "lost"


def test_anything_heard_counts() -> None:
    liveness = Liveness(100.0)
    assert liveness.tick(106.0) == "ping"
    liveness.heard(110.0)
    assert liveness.tick(112.0) is None
    assert liveness.next_deadline() == 110.0 + PING_AFTER
    assert liveness.tick(115.0) == "ping"


def test_a_busy_link_is_never_pinged() -> None:
    liveness = Liveness(0.0)
    for second in range(1, 100):
        liveness.heard(float(second))
        assert liveness.tick(second + 0.5) is None


def test_a_jump_of_the_clock_asks_before_it_judges() -> None:
    liveness = Liveness(100.0)
    assert liveness.tick(105.0) == "ping"
    assert liveness.tick(105.0 + 3600) == "ping"  # asleep meanwhile
    assert liveness.tick(105.0 + 3600 + PATIENCE) == "lost"


def test_hurry_pings_at_the_next_tick() -> None:
    liveness = Liveness(100.0)
    liveness.hurry(101.0)
    assert liveness.next_deadline() <= 101.0
    assert liveness.tick(101.0) == "ping"
    assert liveness.tick(101.0 + AWAKE_PATIENCE - 0.01) is None
    assert liveness.tick(101.0 + AWAKE_PATIENCE) == "lost"
    liveness.heard(105.0)
    assert liveness.tick(110.0) == "ping"
    assert liveness.tick(110.0 + AWAKE_PATIENCE) is None, "that was once"


def test_a_deadline_always_says_something() -> None:
    """Whoever sleeps until the deadline is not woken for nothing, so it can't spin."""
    liveness = Liveness(0.0)
    now = 0.0
    said = []
    for _ in range(2):
        now = max(now, liveness.next_deadline())
        said.append(liveness.tick(now))
    assert said == ["ping", "lost"]


def test_backoff_grows_to_its_longest_and_begins_anew() -> None:
    backoff = Backoff(first=0.1, longest=2.0)
    pauses = [backoff.pause() for _ in range(100)]
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert set(pauses[5:]) == {2.0}
    backoff.reset()
    assert backoff.pause() == 0.1


def test_patience_with_logins_grows_and_most_attempts_stay_short() -> None:
    patience = Patience(first=5.0, longest=80.0)
    times = []
    for _ in range(64):
        times.append(patience.next(0.0))
        patience.ran_out()
    assert times[:8] == [5.0, 10.0, 5.0, 20.0, 5.0, 10.0, 5.0, 40.0]
    assert max(times) == 80.0
    assert times.count(5.0) == 32
    assert all(time <= sum(times[:n]) + 5.0 for n, time in enumerate(times))
    patience.reset()
    assert patience.next(0.0) == 5.0
    assert Patience(first=5.0).next(6.0) == 18.0  # a host that is known to take six seconds


def test_attempts_that_fail_at_once_are_no_reason_for_patience() -> None:
    patience = Patience(first=5.0)
    assert [patience.next(0.0) for _ in range(9)] == [5.0] * 9
