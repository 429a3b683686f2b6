"""The way to any destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..schedulers.base import Allocation
from . import command

if TYPE_CHECKING:
    from ..ssh.command import Destination
    from .base import Transport
    from .entrance import Entrance


def transport(destination: Destination | Entrance | Allocation) -> Transport:
    """The process's one transport for a destination; call it on the I/O thread."""
    if isinstance(destination, Allocation):
        from . import scheduled  # with the schedulers, which most do without

        return scheduled.transport(destination)
    return command.transport(destination)
