"""The five local sockets to which Jupyter clients connect: bound first, and kept."""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections.abc import Mapping

from .. import errors
from ..wire.channels import CHANNELS


class LocalSockets:
    """Bound sockets, one for each channel, on an address as jupyter_client writes it.

    `transport` is "tcp" or "ipc", `ip` the address or the path's beginning. `ports` maps channels
    to port numbers; 0 is any that is free. Raises `SettingsError` where one can't be bound.
    """

    def __init__(self, transport: str, ip: str, ports: dict[str, int]) -> None:
        self.transport = transport
        self.ip = ip
        self.ports = dict(ports)
        self.sockets: dict[str, socket.socket] = {}
        # A manager may be dropped between its binding and its launch, when nobody closes anything.
        drop = weakref.finalize(self, _drop, os.getpid(), transport, ip, self.sockets, self.ports)
        drop.atexit = False
        try:
            for channel in CHANNELS:
                sock = self.sockets[channel] = self._bind(channel)
                # For good: a duplicate has the mode of the one it is of, and both are one to the
                # system. A server that accepts on one that blocks stands still, and all with it.
                sock.setblocking(False)
        except BaseException:
            self.close()
            raise

    def _bind(self, channel: str) -> socket.socket:
        port = self.ports[channel]
        try:
            if self.transport == "ipc":
                return self._bind_ipc(channel, port)
            sock = socket.socket(socket.AF_INET6 if ":" in self.ip else socket.AF_INET)
            if port:
                # As a server that is started again would: its old connections may linger.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((self.ip, port))
            except OSError:
                sock.close()
                raise
            self.ports[channel] = sock.getsockname()[1]
        except OSError as error:
            raise errors.SettingsError(
                text=f"The local {channel} socket can't be opened at {self.ip} port {port}: "
                f"{error.strerror or error}. Free it, or let Jupyter choose the ports."
            ) from None
        return sock

    def _bind_ipc(self, channel: str, port: int) -> socket.socket:
        taken = set(self.ports.values())
        while not port or (not self.ports[channel] and self._exists(port)):
            port = next(n for n in range(port + 1, 1 << 20) if n not in taken)
        self.ports[channel] = port
        sock = socket.socket(socket.AF_UNIX)
        try:
            with contextlib.suppress(OSError):
                # Linux gives the file the mode of the socket, so that it is never open to others,
                # whatever the umask; elsewhere it is for the moment until `chmod`.
                os.fchmod(sock.fileno(), 0o600)
            sock.bind(self._path(port))
            os.chmod(self._path(port), 0o600)
        except OSError:
            sock.close()
            raise
        return sock

    def _path(self, port: int) -> str:
        return _ipc_path(self.ip, port)

    def _exists(self, port: int) -> bool:
        return os.path.lexists(self._path(port))

    @property
    def are_there(self) -> bool:
        """Whether clients can still find them: jupyter_client removes ipc files at a restart."""
        return self.transport != "ipc" or all(map(self._exists, self.ports.values()))

    def duplicates(self) -> dict[str, socket.socket]:
        """The sockets again, for a server that will close them."""
        return {channel: sock.dup() for channel, sock in self.sockets.items()}

    def close(self) -> None:
        """Close them, and remove what ipc left in the file system."""
        _close(self.transport, self.ip, self.sockets, self.ports)


def _ipc_path(ip: str, port: int) -> str:
    return f"{ip}-{port}"


def _close(
    transport: str, ip: str, sockets: dict[str, socket.socket], ports: Mapping[str, int]
) -> None:
    for channel, sock in sockets.items():
        sock.close()
        if transport == "ipc":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_ipc_path(ip, ports[channel]))
    sockets.clear()


def _drop(
    pid: int, transport: str, ip: str, sockets: dict[str, socket.socket], ports: Mapping[str, int]
) -> None:
    if os.getpid() == pid:  # the files are not a forked child's
        _close(transport, ip, sockets, ports)
