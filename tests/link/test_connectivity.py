"""What a link does next, decided without a host: times are said, outcomes are given."""

from __future__ import annotations

import itertools

import pytest

from sshpyk.link.connectivity import AFTER, NEXT, Connectivity, Outcome, State, Step
from sshpyk.wire.liveness import AWAKE_PATIENCE, PATIENCE, PING_AFTER


def connected(now: float = 0.0) -> Connectivity:
    it = Connectivity(now)
    it.become(State.CONNECTING)
    it.connected(now)
    return it


def lost(now: float = 0.0, *, broken: bool = True) -> Connectivity:
    it = connected(now)
    it.lost(broken=broken)
    return it


def play(it: Connectivity, *script: tuple[Step, Outcome]) -> None:
    """Let steps come out as the script says, and check that they are the steps that come."""
    for step, outcome in script:
        assert it.step is step
        it.done(outcome, 0.0)


def test_a_broken_connection_is_made_again() -> None:
    it = lost()
    play(it, (Step.REACH, Outcome.DONE), (Step.DIAL, Outcome.DONE))
    assert it.state is State.UP
    assert it.step is None


def test_silence_is_pinged_then_lost_then_heard_of_again() -> None:
    it = connected(100.0)
    assert it.tick(100.0 + PING_AFTER - 0.1, 0.0) is None
    assert it.tick(100.0 + PING_AFTER, 0.0) == "ping"
    at = 100.0 + PING_AFTER + PATIENCE
    assert it.tick(at - 0.1, 0.0) is None
    assert it.tick(at, 0.0) == "lost"
    it.lost(broken=False)
    assert it.host_is_silent
    play(it, (Step.REACH, Outcome.HEARD))
    assert it.state is State.UP
    assert it.tick(0.0, 0.0) is None


def test_one_silent_agent_is_no_silent_host() -> None:
    it = connected()
    assert it.tick(PING_AFTER, 0.0) == "ping"
    at = PING_AFTER + PATIENCE
    assert it.tick(at, host_heard_at=at - 1.0) == "lost"
    it.lost(broken=False)
    assert not it.host_is_silent


def test_a_late_answer_is_a_stall() -> None:
    it = connected()
    assert it.tick(PING_AFTER, 0.0) == "ping"
    assert not it.heard(PING_AFTER + 0.5)
    assert it.tick(2 * PING_AFTER + 0.5, 0.0) == "ping"
    assert it.heard(2 * PING_AFTER + 2.5)


def test_after_sleep_it_asks_at_once() -> None:
    it = connected()
    it.woke(3.0)
    assert it.tick(3.0, 0.0) == "ping"
    assert it.tick(3.0 + AWAKE_PATIENCE, 0.0) == "lost"


def test_a_gone_agent_is_the_end() -> None:
    it = lost()
    play(
        it,
        (Step.REACH, Outcome.DONE),
        (Step.DIAL, Outcome.NOBODY),
        (Step.PROBE, Outcome.NOBODY),
    )
    assert it.state is State.GONE
    assert it.step is None


def test_an_agent_that_forgot_us_gets_a_new_attachment() -> None:
    it = lost()
    play(
        it,
        (Step.REACH, Outcome.DONE),
        (Step.DIAL, Outcome.REFUSED),
        (Step.ANEW, Outcome.DONE),
        (Step.PAUSE, Outcome.DONE),
        (Step.REACH, Outcome.DONE),
        (Step.DIAL, Outcome.DONE),
    )
    assert it.state is State.UP


@pytest.mark.parametrize("answers", [True, False])
def test_after_a_failure_the_host_is_asked_whether_it_is_there(answers: bool) -> None:
    it = lost()
    outcome = Outcome.DONE if answers else Outcome.FAILED
    play(
        it,
        (Step.REACH, Outcome.DONE),
        (Step.DIAL, Outcome.FAILED),
        (Step.ASK, outcome),
        (Step.PAUSE, Outcome.DONE),
    )
    assert it.step is Step.REACH
    assert it.host_is_silent is not answers  # then another connection than the present is made


def test_pauses_grow_and_a_connection_ends_them() -> None:
    it = lost()
    pauses = []
    for _ in range(8):
        it.step = Step.DIAL
        it.done(Outcome.DEFECT, 50.0)
        pauses.append(it.pause_left(50.0))
    assert pauses == sorted(pauses)
    assert pauses[0] < 1.0 < pauses[-1] <= 2.0
    assert it.pause_left(50.0 + pauses[-1]) == 0.0
    it.step = Step.DIAL
    it.done(Outcome.DONE, 60.0)
    it.lost(broken=True)
    it.step = Step.DIAL
    it.done(Outcome.DEFECT, 60.0)
    assert it.pause_left(60.0) == pauses[0]


def test_no_defect_leaves_it_out_of_reach_for_good() -> None:
    """From whatever step, an error of ours leads back to trying again."""
    for step in Step:
        it = lost()
        it.step = step
        it.done(Outcome.DEFECT, 0.0)
        play(it, (Step.PAUSE, Outcome.DONE))
        assert it.step is Step.REACH


def test_every_way_through_the_table_keeps_to_the_states() -> None:
    """All walks of seven outcomes: no missing entry, and UP and GONE are the only ends."""
    outcomes = {step: [o for s, o in AFTER if s is step] for step in Step}
    ends = set()
    for choice in itertools.product(range(5), repeat=7):
        it = lost()
        for number in choice:
            if it.step is None:
                break
            possible = outcomes[it.step]
            it.done(possible[number % len(possible)], 0.0)
        if it.step is None:
            ends.add(it.state)
        else:
            assert it.state is State.LOST
    assert ends == {State.UP, State.GONE}


def test_what_the_states_allow() -> None:
    for state, following in NEXT.items():
        for other in State:
            it = Connectivity(0.0)
            it.state = state
            if other in following:
                it.become(other)
                assert it.state is other
            else:
                with pytest.raises(RuntimeError):
                    it.become(other)
