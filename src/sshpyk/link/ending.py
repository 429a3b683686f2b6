"""When a person is told that a kernel's place will end. Pure: time is an argument."""

from __future__ import annotations

#: Seconds before the end at which that is said.
WARN_BEFORE = (900.0, 300.0)


class Ending:
    """The warnings of one kernel; times are in seconds since 1970."""

    def __init__(self) -> None:
        self._next = WARN_BEFORE[0]  # the longest time left at which something is to be said
        self._asked_for: float | None = None  # the end for which it was looked again

    def is_due(self, now: float, ends_at: float | None) -> bool:
        """Whether to look whether the end is still `ends_at`, and to `tell`; once for each."""
        if ends_at is None or not 0 < ends_at - now <= self._next or self._asked_for == ends_at:
            return False
        self._asked_for = ends_at
        return True

    def tell(self, now: float, ends_at: float | None) -> str:
        """What there is to say of the end, looked up just now: "in 5 min"; else nothing."""
        self._asked_for = None
        if ends_at is None:
            return ""
        left = ends_at - now
        is_due = left <= self._next
        self._next = max((limit for limit in WARN_BEFORE if limit < left), default=0.0)
        if not is_due:
            return ""
        return f"in {round(left / 60)} min" if left >= 90 else f"in {round(max(0.0, left))} s"
