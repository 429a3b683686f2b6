"""Where an agent is: what a link, a persistence file and a record have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from ..transport.entrance import Entrance


@dataclass(frozen=True)
class KernelAddress:
    """Where a kernel is: what another process needs to attach to it, beside its keys."""

    destination: Destination | Entrance | Allocation | ServerAddress
    agent: AgentAddress


@dataclass
class AgentAddress:
    """Where an agent is and what lets us in: what another process needs to attach.

    `python` is the host's Python with which the agent was launched, `listening` maps channels to
    the paths or ports of its sockets, `node` and `boot_id` tell the very machine and its boot, and
    `place` which container of it, since when.
    """

    id: str
    token: str = field(repr=False)
    python: str
    listening: dict[str, str | int] = field(default_factory=dict)
    node: str = ""
    boot_id: str = ""
    place: str = ""

    def found(self, machine: Mapping[str, Any], listening: Mapping[str, str | int]) -> None:
        """The agent is on this `machine`, as a launch or a record says, and `listening` there."""
        self.node, self.boot_id = machine["host"], machine["boot_id"]
        self.place = machine.get("place", "")
        self.listening = dict(listening)

    @classmethod
    def of_record(cls, record: Mapping[str, Any], python: str) -> AgentAddress:
        """The address in a record of the host's (`sshpyk.agent.records`)."""
        address = cls(record["id"], record["token"], python)
        address.found(record, record["listening"])
        return address
