"""A kernel's life and its agent's, without processes, files or waiting: time is an argument."""

from __future__ import annotations

import random

import pytest

from sshpyk.agent.lifecycle import (
    BOUND,
    CHECK_PLACE,
    CHECK_PLACE_EVERY,
    CLEAN_UP,
    CONTINUE,
    DROP,
    ENDING,
    EXITED,
    FAREWELL,
    GRACE,
    KILL,
    LAST_ANSWERS,
    LAUNCH,
    LAUNCHING,
    OVER,
    PAUSE,
    RECORD,
    RESTARTING,
    STARTING,
    STOP,
    TABLE,
    TELL_GOES_ON,
    TELL_PAUSED,
    TERMINATE,
    Impossible,
    Lifecycle,
)

LEASE = 100.0


class Life:
    """A lifecycle, and what its driver tells it at each tick."""

    def __init__(self, *, persistent: bool = False, confirm_within: float | None = None) -> None:
        self.life = Lifecycle(
            0.0, persistent=persistent, lease=LEASE, confirm_within=confirm_within
        )
        self.is_stuck = False
        self.has_caught_up = True
        self.has_unread = False

    def act(self, now: float, *, with_checks: bool = False) -> list[str]:
        """All that is to be done at `now`."""
        done = []
        while actions := self.life.tick(
            now,
            is_stuck=self.is_stuck,
            has_caught_up=self.has_caught_up,
            has_unread=self.has_unread,
        ):
            done += [action for action, _ in actions if with_checks or action != CHECK_PLACE]
        return done


def attached(*, persistent: bool = False, detached: bool = True) -> Life:
    """A kernel that is bound, with one client."""
    it = Life(persistent=persistent)
    it.life.attach("a", 0.0)
    it.life.see("a", 0.0, is_connected=True)
    it.life.bound()
    it.life.is_detached = detached
    assert it.act(0.0) == [RECORD]
    return it


def test_a_restart_kills_and_then_starts() -> None:
    it = attached()
    it.life.restart()
    assert (it.life.state, it.act(1.0)) == (RESTARTING, [KILL])
    it.life.exited(2.0)
    assert (it.life.state, it.act(2.0)) == (LAUNCHING, [LAUNCH])
    it.life.started()
    assert (it.life.state, it.act(2.0)) == (STARTING, [RECORD])
    it.life.bound()
    assert (it.life.state, it.act(3.0)) == (BOUND, [RECORD])


def test_a_restart_of_what_has_exited_starts_at_once() -> None:
    it = attached()
    it.life.exited(1.0)
    assert (it.life.state, it.act(1.0)) == (EXITED, [RECORD])
    it.life.restart()
    assert it.act(2.0) == [LAUNCH]
    it.life.failed(2.0)
    assert (it.life.state, it.act(2.0)) == (EXITED, [RECORD])
    it.life.restart()
    assert it.act(3.0) == [LAUNCH]


def test_a_restart_that_fails_when_nobody_is_there_any_more_is_the_end() -> None:
    it = attached()
    it.life.exited(1.0)
    it.act(1.0)
    it.life.restart()
    it.life.leave("a")
    it.life.see("a", 2.0, is_connected=False)
    assert it.act(2.0) == [LAUNCH, DROP]
    it.life.failed(2.0)
    assert (it.life.state, it.life.why) == (FAREWELL, "the kernel exited while nobody was attached")


def test_the_end() -> None:
    it = attached()
    it.has_unread = True
    it.life.end("a client ended it", 10.0)
    it.life.end("again", 10.5)
    assert (it.life.state, it.life.why) == (ENDING, "a client ended it")
    assert it.act(10.0) == [TERMINATE]
    assert it.life.next_deadline() == 10.0 + GRACE
    assert it.act(10.0 + GRACE - 0.1) == []
    assert it.act(10.0 + GRACE) == [KILL]
    assert it.act(20.0) == []
    it.life.exited(20.0)
    assert (it.life.state, it.act(20.0)) == (FAREWELL, [CLEAN_UP])
    assert it.life.next_deadline() == 20.0 + LAST_ANSWERS
    assert it.act(20.0 + LAST_ANSWERS - 0.1) == []
    assert (it.act(20.0 + LAST_ANSWERS), it.life.state) == ([STOP], OVER)
    assert it.act(30.0) == []


def test_the_last_answers_are_given_before_the_stop() -> None:
    it = attached()
    it.life.exited(1.0)
    it.act(1.0)
    it.life.end("a client ended it", 2.0)
    actions = it.life.tick(2.0, is_stuck=False, has_caught_up=True, has_unread=False)
    assert [action for action, _ in actions] == [CLEAN_UP]
    it.has_unread = True  # which CLEAN_UP ends with
    assert it.act(2.1) == []
    it.has_unread = False
    assert it.act(2.2) == [STOP]


def test_no_restart_while_it_ends() -> None:
    it = attached()
    it.life.restart()
    it.life.end("it was told to stop (SIGTERM)", 1.0)
    assert it.act(1.0) == [TERMINATE]
    with pytest.raises(Impossible):
        it.life.restart()
    it.life.exited(1.5)
    assert it.act(1.5) == [CLEAN_UP, STOP]


def test_an_end_between_exit_and_launch() -> None:
    it = attached()
    it.life.restart()
    it.act(1.0)
    it.life.exited(2.0)
    it.life.end("its directories are gone", 2.0)
    assert it.act(2.0) == [CLEAN_UP, STOP]


@pytest.mark.parametrize("persistent", [False, True])
def test_the_lease(persistent: bool) -> None:
    it = attached(persistent=persistent)
    assert it.life.lease_left(4.0) is None
    assert it.life.see("a", 5.0, is_connected=False)
    assert not it.life.see("a", 6.0, is_connected=False)
    assert it.life.lease_left(15.0) == (None if persistent else LEASE - 10.0)
    assert it.act(5.0 + LEASE - 1) == []
    assert it.act(5.0 + LEASE) == ([DROP] if persistent else [DROP, TERMINATE])
    assert it.life.why == ("" if persistent else "its lease ran out")


def test_who_comes_back_in_time_keeps_it() -> None:
    it = attached()
    it.life.see("a", 5.0, is_connected=False)
    it.life.see("a", 4.0 + LEASE, is_connected=True)
    assert it.act(1000.0) == []
    it.life.see("a", 1000.0, is_connected=False)
    it.life.set_terms(persistent=False, lease=1.0)
    assert it.act(1000.5) == [RECORD]
    assert it.life.next_deadline() == 1001.0
    assert it.act(1001.0) == [DROP, TERMINATE]


def test_who_leaves_is_dropped_at_once_and_the_kernel_goes_on() -> None:
    it = attached()
    it.life.leave("a")
    assert it.act(1.0) == []  # its answers are still on the way
    it.life.see("a", 2.0, is_connected=False)
    assert it.act(2.0) == [DROP]
    assert it.life.state == BOUND
    it.life.exited(3.0)
    assert it.act(3.0) == [CLEAN_UP, STOP]
    assert it.life.why == "the kernel exited while nobody was attached"


def test_one_of_two_who_vanishes_takes_nothing_along() -> None:
    it = attached()
    it.life.attach("b", 1.0)
    it.life.see("b", 1.0, is_connected=True)
    it.life.see("a", 2.0, is_connected=False)
    assert it.act(2.0 + LEASE) == [DROP]
    assert list(it.life.attached) == ["b"]
    assert it.life.state == BOUND


def test_a_kernel_that_exits_before_its_launch_is_told_stays() -> None:
    it = Life()
    it.life.exited(1.0)
    assert (it.life.state, it.act(1.0)) == (EXITED, [RECORD])


def test_a_launch_that_nobody_confirms() -> None:
    it = Life(confirm_within=35.0)
    assert it.act(34.9) == []
    assert it.life.next_deadline() == 35.0
    assert it.act(35.0) == [TERMINATE]
    assert it.life.why == "its launch was not confirmed"
    it.life.is_detached = True
    assert not it.life.is_confirmed
    other = Life(confirm_within=35.0)
    other.life.confirm()
    assert other.act(35.0) == []
    assert not other.life.is_confirmed
    other.life.is_detached = True
    assert other.life.is_confirmed


def test_looks_for_its_directories_only_while_nobody_is_there() -> None:
    it = Life()
    assert it.act(0.0, with_checks=True) == [CHECK_PLACE]
    assert it.life.next_deadline() == CHECK_PLACE_EVERY
    assert it.act(CHECK_PLACE_EVERY - 1, with_checks=True) == []
    assert it.act(CHECK_PLACE_EVERY, with_checks=True) == [CHECK_PLACE]
    it.life.attach("a", 15.0)
    it.life.see("a", 15.0, is_connected=True)
    assert it.act(1000.0, with_checks=True) == []
    assert it.life.next_deadline() is None
    it.life.see("a", 1000.0, is_connected=False)
    assert it.act(1000.0, with_checks=True) == [CHECK_PLACE]
    it.life.end("its directories are gone", 1000.0)
    assert it.act(1001.0, with_checks=True) == [TERMINATE]


def test_pauses_where_nothing_more_can_be_kept() -> None:
    it = attached()
    it.is_stuck, it.has_caught_up = True, False
    assert it.act(1.0) == [PAUSE, TELL_PAUSED]
    it.is_stuck = False
    assert it.act(2.0) == [CONTINUE]
    it.is_stuck = True
    assert it.act(3.0) == [PAUSE]  # which was told
    it.is_stuck, it.has_caught_up = False, True
    assert it.act(4.0) == [CONTINUE, TELL_GOES_ON]
    assert it.act(5.0) == []
    it.is_stuck = True  # where no disk may be used none is
    assert it.act(6.0) == [PAUSE, TELL_PAUSED]
    assert it.act(6.0) == []


def test_what_ends_is_not_paused_any_more() -> None:
    it = attached()
    it.is_stuck, it.has_caught_up = True, False
    it.act(1.0)
    it.life.end("a client ended it", 2.0)
    assert it.act(2.0) == [TERMINATE]  # which has it go on, so that it hears of it
    assert not it.life.is_paused


def test_a_new_process_is_not_paused() -> None:
    it = attached()
    it.is_stuck, it.has_caught_up = True, False
    it.act(1.0)
    it.life.restart()
    assert it.act(2.0) == [KILL]
    it.life.exited(3.0)
    it.is_stuck = False
    it.act(3.0)
    it.life.started()
    assert it.act(3.0) == [RECORD]


def test_a_socket_that_is_missing_after_all() -> None:
    it = attached()
    it.life.missing()
    assert it.life.state == STARTING
    it.life.bound()
    assert it.life.state == BOUND


@pytest.mark.parametrize("event", ["bound", "started", "failed", "exited"])
def test_what_can_not_happen(event: str) -> None:
    it = attached()
    it.life.exited(1.0)
    with pytest.raises(Impossible, match=f"{event} while exited"):
        happen(it.life, event, 1.0)


def happen(life: Lifecycle, event: str, now: float) -> None:
    if event in ("exited", "failed"):
        getattr(life, event)(now)
    elif event != "none":
        getattr(life, event)()


def test_from_every_state_it_comes_to_an_end() -> None:
    """Whatever happened before: once it is to end, and its process has ended, it stops."""
    rng = random.Random(1)
    seen = set()
    for _ in range(300):
        it = attached(detached=rng.random() < 0.5)  # with a client, so it never ends by itself
        for step in range(rng.randint(0, 6)):
            events = sorted(TABLE[it.life.state])
            event = rng.choice([e for e in events if e not in ("told", "end")] or ["none"])
            happen(it.life, event, float(step))
            it.act(float(step))
        seen.add(it.life.state)
        it.life.end("enough", 100.0)
        actions = it.act(100.0)
        if it.life.state == ENDING:
            it.life.exited(101.0)
            actions += it.act(101.0)
        assert it.life.state == OVER
        assert actions[-1] == STOP
    assert {STARTING, BOUND, EXITED, RESTARTING, LAUNCHING} <= seen
