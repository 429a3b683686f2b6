"""A place where commands look for kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from ..transport.entrance import Entrance
    from ..wire.requests import Request

#: Seconds for a login, and for a job on the host after it.
CONNECT = 15.0
ANSWER = 20.0


@dataclass(frozen=True)
class Place:
    """A host, and the Python there that runs our agent."""

    destination: Destination | Entrance | Allocation | ServerAddress
    python: str

    @property
    def host(self) -> str:
        """What one gives to ssh, or what the place is called."""
        return self.destination.host

    @property
    def argument(self) -> str:
        """The word that means it on our command line."""
        return self.host

    async def ask(self, request: Request) -> dict[str, Any]:
        """Run a job there; on the I/O thread. Raises `SshpykError`."""
        from . import remote

        transport = remote.transport_to(self.destination)
        return await remote.ask(transport, self.python, request, connect=CONNECT, timeout=ANSWER)
