"""Whether a link is connected, and what it does next to be so again. No I/O; time is an argument.

Who drives it does what `step` says and tells how that came out, tells what was heard, and asks
`tick` whether it is time for something.
"""

from __future__ import annotations

import enum

from ..wire.liveness import PING_AFTER, Backoff, Liveness

#: Seconds for which a ping was not answered, so that output may have piled up.
STALL = 1.0


class State(enum.Enum):
    """A link's states; `NEXT` says which may follow."""

    NEW = "new"
    CONNECTING = "connecting"  # for the first time
    UP = "connected"
    LOST = "lost"  # and working on it
    GONE = "gone"  # the agent is no more: nothing is left to connect to
    CLOSED = "closed"


NEXT: dict[State, tuple[State, ...]] = {
    State.NEW: (State.CONNECTING, State.CLOSED),
    State.CONNECTING: (State.UP, State.GONE, State.CLOSED),
    State.UP: (State.LOST, State.CLOSED),
    State.LOST: (State.UP, State.GONE, State.CLOSED),
    State.GONE: (State.CLOSED,),
    State.CLOSED: (),
}


class Step(enum.Enum):
    """What a lost link does."""

    REACH = "get a connection to the host, or hear of the one there was"
    DIAL = "connect to the agent"
    PROBE = "ask the host what became of the agent"
    ASK = "see whether the host answers at all"
    ANEW = "begin a new attachment, for the agent knows this one no more"
    PAUSE = "wait"


class Outcome(enum.Enum):
    """How a step came out."""

    DONE = "done"
    HEARD = "the old connection was heard of again"
    NOBODY = "no agent is where it listened"
    REFUSED = "the agent does not take us"
    FAILED = "failed"
    DEFECT = "an error of ours"


#: What follows on what; None is the end of it: connected, or the agent is gone.
AFTER: dict[tuple[Step, Outcome], Step | None] = {
    (Step.REACH, Outcome.DONE): Step.DIAL,
    (Step.REACH, Outcome.HEARD): None,
    (Step.REACH, Outcome.NOBODY): None,  # the place itself has ended
    (Step.REACH, Outcome.FAILED): Step.REACH,  # the transport makes the pauses, for all its links
    (Step.DIAL, Outcome.DONE): None,
    (Step.DIAL, Outcome.NOBODY): Step.PROBE,
    (Step.DIAL, Outcome.REFUSED): Step.ANEW,
    (Step.DIAL, Outcome.FAILED): Step.ASK,
    (Step.PROBE, Outcome.DONE): Step.PAUSE,  # it is alive, somewhere
    (Step.PROBE, Outcome.NOBODY): None,  # it is gone
    (Step.PROBE, Outcome.FAILED): Step.ASK,
    (Step.ASK, Outcome.DONE): Step.PAUSE,
    (Step.ASK, Outcome.FAILED): Step.PAUSE,
    (Step.ANEW, Outcome.DONE): Step.PAUSE,
    (Step.PAUSE, Outcome.DONE): Step.REACH,
    **{(step, Outcome.DEFECT): Step.PAUSE for step in Step},
}


class Connectivity:
    """One link's state, and its way back. `now` is in seconds, on one clock for all of it."""

    def __init__(self, now: float) -> None:
        self.state = State.NEW
        self.step: Step | None = None  # what to do now, while `state` is LOST
        self.host_is_silent = False  # whether the connection to the host counts as dead
        self._liveness = Liveness(now)
        self._backoff = Backoff()
        self._until = 0.0

    def become(self, state: State) -> None:
        """Go to `state`. Raises RuntimeError where `NEXT` does not have it."""
        if state not in NEXT[self.state]:
            raise RuntimeError(f"a link can't go from {self.state} to {state}")
        self.state = state

    def connected(self, now: float) -> None:
        """The agent has welcomed us, or was heard of again."""
        self._liveness.heard(now)
        self._backoff.reset()
        self.step = None
        self.become(State.UP)

    def heard(self, now: float) -> bool:
        """Something came from the agent; whether that was after a stall."""
        stalled = self._liveness.waited(now) > STALL
        self._liveness.heard(now)
        return stalled

    def woke(self, now: float) -> None:
        """The clock has jumped: there is reason to doubt the connection."""
        self._liveness.hurry(now)

    def tick(self, now: float, host_heard_at: float) -> str | None:
        """What a connected link must do now: "ping", "lost" (then call `lost`) or None.

        `host_heard_at` is when any link heard of the host: where other kernels there are heard
        of, it is not the host that is silent.
        """
        verdict = self._liveness.tick(now) if self.state is State.UP else None
        if verdict == "lost":
            self.host_is_silent = now - host_heard_at > PING_AFTER
        return verdict

    def lost(self, *, broken: bool) -> None:
        """The connection to the agent is no more: `broken`, or silent as `tick` has found."""
        if broken:
            self.host_is_silent = False
        self.become(State.LOST)
        self.step = Step.REACH

    def done(self, outcome: Outcome, now: float) -> None:
        """The present step came out like this. `step` is the next, or None."""
        assert self.step is not None
        before, self.step = self.step, AFTER[self.step, outcome]
        if before is Step.ASK:
            self.host_is_silent = outcome is Outcome.FAILED
        elif before in (Step.REACH, Step.PROBE):
            self.host_is_silent = self.host_is_silent and outcome is Outcome.FAILED
        if self.step is Step.PAUSE:
            self._until = now + self._backoff.pause()
        elif outcome is Outcome.NOBODY and self.step is None:
            self.become(State.GONE)
        elif self.step is None:
            self.connected(now)

    def pause_left(self, now: float) -> float:
        """Seconds that the step PAUSE has still to go."""
        return max(0.0, self._until - now)
