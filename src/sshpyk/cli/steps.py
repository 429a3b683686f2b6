"""What became of one step of `sshpyk doctor`."""

from __future__ import annotations

from dataclasses import dataclass

from .. import errors
from .terminal import BAD

#: Seconds for a host to let us in.
CONNECT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Step:
    """What became of a step: a mark, a sentence, what mends it, and the seconds it took."""

    mark: str
    what: str
    text: str
    fix: str = ""
    seconds: float = 0.0


def failed(what: str, error: errors.SshpykError, seconds: float = 0.0) -> Step:
    """The step that an error ended."""
    command = "\n".join(f"  {line}" for line in error.command.splitlines())
    fix = "\n".join(filter(None, (error.advice, command, error.details)))
    return Step(BAD, what, error.what, fix, seconds)
