"""Transports that reach agents in one way only: through a relay."""

from __future__ import annotations

from .. import errors
from .base import Transport


class ByRelay(Transport):
    """What there is to say of an agent's way where nothing else could be tried."""

    @property
    def family(self) -> str:
        return "relay"

    def refused(self, family: str) -> str:
        if self.identity() is None:
            raise errors.ConnectionLost(host=self.host, details="")
        raise self._no_way("programs run there, and yet the agent can't be reached through one")

    def _no_way(self, details: str) -> errors.HostError:
        """The error where the relay leads to no agent."""
        return errors.Unreachable(host=self.host, command=self.login.command, details=details)

    def reached(self, family: str) -> None:
        """There is one way only."""

    def unreached(self) -> None:
        """There is one way only."""
