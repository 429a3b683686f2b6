"""A kernel's life, and its agent's: what is to happen when. Pure: no process, file or clock.

The kernel is starting, then bound, then exited; by a client's "start" request it is killed and
started again. The agent ends when a client says "end", when its lease has run out with no client in
sight, when the kernel has exited and nobody is attached, or when its launch was not confirmed:
first the kernel, then what it left, then, when the last answers have gone out, the agent itself.

`sshpyk.agent.serve` tells what has happened, and does the actions that `Lifecycle.tick` returns.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    Action = Tuple[str, str]  # what to do, and with which attachment, or why

# The states.
STARTING = "starting"  # the kernel's process runs, its sockets are not all there
BOUND = "bound"  # they are
EXITED = "exited"  # the process has ended, and the agent stays
RESTARTING = "restarting"  # the process was killed, to be started again
LAUNCHING = "launching"  # it has ended, and the next one is about to be made
ENDING = "ending"  # the agent ends, and the process is still there
FAREWELL = "farewell"  # the process has ended, and the last answers are on the way
OVER = "over"

# What happens. An event that is missing from a state's row can't happen there.
TABLE: Dict[str, Dict[str, str]] = {
    STARTING: {
        "bound": BOUND,
        "missing": STARTING,
        "exited": EXITED,
        "restart": RESTARTING,
        "end": ENDING,
    },
    BOUND: {"missing": STARTING, "exited": EXITED, "restart": RESTARTING, "end": ENDING},
    EXITED: {"restart": LAUNCHING, "end": FAREWELL},
    RESTARTING: {
        "missing": RESTARTING,
        "exited": LAUNCHING,
        "restart": RESTARTING,
        "end": ENDING,
    },
    LAUNCHING: {"started": STARTING, "failed": EXITED, "restart": LAUNCHING, "end": FAREWELL},
    ENDING: {"missing": ENDING, "exited": FAREWELL, "end": ENDING},
    FAREWELL: {"end": FAREWELL, "told": OVER},
    OVER: {"end": OVER},
}

# The actions.
KILL = "kill"  # the kernel's process, SIGKILL
TERMINATE = "terminate"  # the kernel's process, SIGTERM, and let it go on where it is paused
PAUSE = "pause"  # SIGSTOP
CONTINUE = "continue"  # SIGCONT
LAUNCH = "launch"  # make the next process; then `started` or `failed`
RECORD = "record"  # write the record, which has changed
CHECK_PLACE = "check place"  # whether the agent's directories are there; if not, `end`
DROP = "drop"  # an attachment whose lease has run out, or that has left
TELL_PAUSED = "tell paused"  # to the user: the kernel is paused
TELL_GOES_ON = "tell goes on"  # to the user: the connection has caught up
CLEAN_UP = "clean up"  # sockets and files; then give the last answers
STOP = "stop"  # the agent itself

#: Seconds from SIGTERM to SIGKILL when the agent ends its kernel.
GRACE = 2.0

#: Seconds that the last answers have to reach the client before the agent goes.
LAST_ANSWERS = 3.0

#: Seconds between two checks, while nobody is attached, whether anybody could be.
CHECK_PLACE_EVERY = 10.0


class Impossible(Exception):
    """An event that can't happen in the present state."""


class Attached:
    """What is known of an attachment: whether it said that it leaves, and since when it is
    without a carrier, None while it has one."""

    def __init__(self, now: float) -> None:
        self.has_left = False
        self.silent_since: Optional[float] = now


class Lifecycle:
    """The state, and what is due.

    `confirm_within` is how many seconds from `now` a client has to say that it has attached; None
    where it need not. `is_detached` is whether the session of the launch has let go.
    """

    def __init__(
        self, now: float, *, persistent: bool, lease: float, confirm_within: Optional[float] = None
    ) -> None:
        self.state = STARTING
        self.why = ""  # it ends, once it does
        self.persistent = persistent
        self.lease = lease
        self.is_detached = False
        self.is_paused = False
        self.attached: Dict[str, Attached] = {}
        self._confirm_by = None if confirm_within is None else now + confirm_within
        self._check_place_at = now
        self._kill_at: Optional[float] = None
        self._stop_at = float("inf")
        self._has_told_paused = False
        self._actions: List[Action] = []

    def _go(self, event: str) -> None:
        try:
            self.state = TABLE[self.state][event]
        except KeyError:
            raise Impossible(f"{event} while {self.state}") from None

    def _do(self, action: str, what: str = "") -> None:
        self._actions.append((action, what))

    @property
    def is_ending(self) -> bool:
        """Whether the agent ends."""
        return self.state in (ENDING, FAREWELL, OVER)

    @property
    def is_confirmed(self) -> bool:
        """Whether the kernel is somebody's: its launch was not given up."""
        return self._confirm_by is None and self.is_detached

    # -- what has happened -----------------------------------------------------------------------

    def bound(self) -> None:
        """The kernel's sockets are there."""
        self._go("bound")
        self._do(RECORD)

    def missing(self) -> None:
        """One of the kernel's sockets is not there after all."""
        self._go("missing")

    def exited(self, now: float) -> None:
        """The kernel's process has ended."""
        self._go("exited")
        self.is_paused = False
        if self.state == LAUNCHING:
            self._do(LAUNCH)
        elif self.state == FAREWELL:
            self._say_farewell(now)
        else:
            self._stay_or_end(now)

    def _stay_or_end(self, now: float) -> None:
        """There is no process: that is the end, unless somebody may start the next one."""
        if not self.attached and self.is_detached:
            self.end("the kernel exited while nobody was attached", now)
        else:
            self._do(RECORD)

    def restart(self) -> None:
        """A client wants the kernel started again. Raises `Impossible` where the agent ends."""
        self._go("restart")
        self._do(KILL if self.state == RESTARTING else LAUNCH)

    def started(self) -> None:
        """The next process is there."""
        self._go("started")
        self._do(RECORD)

    def failed(self, now: float) -> None:
        """The next process could not be made."""
        self._go("failed")
        self._stay_or_end(now)

    def end(self, why: str, now: float) -> None:
        """The agent is to end."""
        before = self.state
        self._go("end")
        if self.state == before:
            return
        self.why = why
        self._actions = [action for action in self._actions if action[0] not in (KILL, LAUNCH)]
        if self.state == ENDING:
            self.is_paused = False
            self._kill_at = now + GRACE
            self._do(TERMINATE)
        else:
            self._say_farewell(now)

    def _say_farewell(self, now: float) -> None:
        self._stop_at = now + LAST_ANSWERS
        self._do(CLEAN_UP)

    def confirm(self) -> None:
        """A client has said that it has attached."""
        self._confirm_by = None

    def set_terms(self, *, persistent: bool, lease: float) -> None:
        """A client says how long the kernel outlives the silence of its clients."""
        self.persistent, self.lease = persistent, lease
        self._do(RECORD)

    def attach(self, id: str, now: float) -> None:
        """There is a new attachment."""
        self.attached[id] = Attached(now)

    def leave(self, id: str) -> None:
        """An attachment says that it ends; the kernel goes on."""
        if id in self.attached:
            self.attached[id].has_left = True

    def see(self, id: str, now: float, *, is_connected: bool) -> bool:
        """Whether an attachment has a carrier now; returns whether it has just lost its last."""
        attached = self.attached[id]
        has_lost = not is_connected and attached.silent_since is None
        if is_connected:
            attached.silent_since = None
        elif has_lost:
            attached.silent_since = now
        return has_lost

    # -- time ------------------------------------------------------------------------------------

    def tick(
        self, now: float, *, is_stuck: bool, has_caught_up: bool, has_unread: bool
    ) -> List[Action]:
        """What to do now, in this order; ask again until there is nothing.

        `is_stuck` is whether nothing more of the kernel's output can be kept and nobody takes it,
        `has_caught_up` whether none of it is left on disk, `has_unread` whether answers are on the
        way to a client that is connected.
        """
        self._expire(now)
        self._tick_pause(is_stuck, has_caught_up)
        if self._confirm_by is not None and now >= self._confirm_by and not self.is_ending:
            self.end("its launch was not confirmed", now)
        if self._is_alone and now >= self._check_place_at:
            self._check_place_at = now + CHECK_PLACE_EVERY
            self._do(CHECK_PLACE)
        if self.state == ENDING and self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._do(KILL)
        actions, self._actions = self._actions, []
        # Not before the last answers were given, which is how CLEAN_UP ends.
        is_last = self.state == FAREWELL and not actions
        if is_last and (now >= self._stop_at or not has_unread):
            self._go("told")
            actions.append((STOP, ""))
        return actions

    def next_deadline(self) -> Optional[float]:
        """When `tick` will have something that depends on the time."""
        times = [self._expires(attached) for attached in self.attached.values()]
        if not self.is_ending:
            times.append(self._confirm_by)
        if self._is_alone:
            times.append(self._check_place_at)
        if self.state == ENDING:
            times.append(self._kill_at)
        if self.state == FAREWELL:
            times.append(self._stop_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def _is_alone(self) -> bool:
        """Whether no client is connected, so that it matters whether one could come."""
        silent = all(one.silent_since is not None for one in self.attached.values())
        return silent and not self.is_ending

    def _expires(self, attached: Attached) -> Optional[float]:
        if attached.silent_since is None:
            return None
        return attached.silent_since + (0.0 if attached.has_left else self.lease)

    def _expire(self, now: float) -> None:
        for id, attached in list(self.attached.items()):
            expires = self._expires(attached)
            if expires is None or now < expires:
                continue
            del self.attached[id]
            self._do(DROP, id)
            if self.attached or self.is_ending:
                continue
            if self.state == EXITED:
                self.end("the kernel exited while nobody was attached", now)
            elif not attached.has_left and not self.persistent:
                self.end("its lease ran out", now)

    def lease_left(self, now: float) -> Optional[float]:
        """Seconds until the agent ends, where nobody comes; None where it would not."""
        silent = [a.silent_since for a in self.attached.values() if a.silent_since is not None]
        if self.persistent or not silent:
            return None
        return max(silent) + self.lease - now

    def _tick_pause(self, is_stuck: bool, has_caught_up: bool) -> None:
        """Pause the kernel where its output can't be kept: were it read on, output would be lost;
        were it read no more, ZMQ in the kernel would throw it away."""
        if self.state in (STARTING, BOUND) and is_stuck != self.is_paused:
            self.is_paused = is_stuck
            self._do(PAUSE if is_stuck else CONTINUE)
        if self.is_paused and not self._has_told_paused:
            self._has_told_paused = True
            self._do(TELL_PAUSED)
        elif self._has_told_paused and has_caught_up and not self.is_paused:
            self._has_told_paused = False
            self._do(TELL_GOES_ON)
