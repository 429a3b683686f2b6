"""When to ping, when to give a link up, how long to wait before the next try."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

#: Seconds of silence before a ping. Twelve pings a minute are about 2 kB with everything that ssh
#: and TCP add, and keep any middlebox from forgetting the connection.
PING_AFTER = 5.0

#: Seconds that a ping may stay without any answer before the link counts as lost.
PATIENCE = 5.0

#: The same when the clock has jumped: a laptop's connection rarely outlives its sleep, and somebody
#: is in front of it.
AWAKE_PATIENCE = 2.0


class Liveness:
    """Whether the other side of a link is there, judged by what is heard of it.

    Anything heard counts, not only the answer to a ping: on a slow link a full pipe delays that.
    """

    def __init__(self, now: float) -> None:
        self._heard = now
        self._pinged: Optional[float] = None
        self._patience = PATIENCE

    def heard(self, now: float) -> None:
        """Something came from the other side."""
        self._heard = now
        self._pinged = None
        self._patience = PATIENCE

    def waited(self, now: float) -> float:
        """Seconds for which a ping has had no answer; 0 where there is none to be answered."""
        return 0.0 if self._pinged is None else now - self._pinged

    def hurry(self, now: float) -> None:
        """There is reason to doubt (the clock jumped): ping at the next tick."""
        self._heard = now - PING_AFTER
        self._pinged = None
        self._patience = AWAKE_PATIENCE

    def next_deadline(self) -> float:
        """When `tick` will have something to say."""
        if self._pinged is not None:
            return self._pinged + self._patience
        return self._heard + PING_AFTER

    def tick(self, now: float) -> Optional[str]:
        """What to do now: "ping", "lost" or None."""
        if now < self.next_deadline():
            return None
        if self._pinged is None:
            self._pinged = now
            return "ping"
        if now > self._pinged + 3 * self._patience:
            # Nobody ticked for so long: this process was stopped or asleep, and what waits in the
            # sockets was not read yet. Ask again before judging.
            self._pinged = now
            return "ping"
        return "lost"


class Backoff:
    """Pauses between attempts: short at first, never longer than `longest` seconds.

    The longest is short on purpose: when the network is back nobody wants to wait, and one
    attempt every two seconds is nothing to either machine.
    """

    def __init__(self, first: float = 0.1, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        pause = self._next
        self._next = min(self._longest, self._next * 2)
        return pause

    def reset(self) -> None:
        """It worked; begin again with the shortest."""
        self._next = self._first


class Patience:
    """How long one attempt at a login may take: mostly `first` seconds, at times much longer.

    Attempts that fail by themselves tell nothing of it, but those that run out of time do: a host
    may need longer to let us in. After one the next has twice the time, after three four times,
    and so on up to `longest`; those between stay short. So no attempt that began in a dead network
    delays the first in a live one by more than the network was dead before.
    """

    def __init__(self, first: float = 5.0, longest: float = 80.0) -> None:
        self._first = first
        self._longest = longest
        self._timeouts = 0

    def next(self, last_login: float) -> float:
        """Seconds for the next attempt; `last_login` is how long the last login took, 0 if
        unknown."""
        number = self._timeouts + 1
        power = number & -number  # 1, 2, 1, 4, 1, 2, 1, 8, ...
        return min(self._longest, max(self._first, 3 * last_login) * power)

    def ran_out(self) -> None:
        """An attempt took all the time that it had."""
        self._timeouts += 1

    def reset(self) -> None:
        """A login has succeeded."""
        self._timeouts = 0
