"""What may be asked of `sshpyk-kernel` while it runs."""

from __future__ import annotations

import enum


class Action(enum.Enum):
    """What may be asked of the program, by a signal or from the menu; the value is for people."""

    INTERRUPT = "interrupting the kernel"
    END = "ending"
    SHUTDOWN = "shutting the kernel down"
    RESTART = "restarting the kernel"
    LEAVE = "leaving the kernel"
