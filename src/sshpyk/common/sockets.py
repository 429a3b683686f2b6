"""The sockets of `socket`, without importing that: it brings `enum`, and with it takes 15 ms of
each launch, and of each agent 1 MB.
"""

from __future__ import annotations

from _socket import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple


class Socket(socket):
    """A socket as `socket.socket` is, as far as the agent needs it."""

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def accept(self) -> Tuple[Socket, Any]:
        """A connection that came in, and from where."""
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # not in typeshed
        return Socket(fileno=descriptor), address
