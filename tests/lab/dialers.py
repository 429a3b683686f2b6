"""Ways to an agent without a host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sshpyk.transport.base import Dialer


class DirectoryDialer(Dialer):
    """Connects to the unix sockets in a directory, named as the channels."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def dial(self, channel: str, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(protocol, str(self.directory / channel))

    async def close(self) -> None:
        pass
