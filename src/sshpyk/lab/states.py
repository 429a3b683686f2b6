"""The states of the remote kernels of a Jupyter Server, as browsers hear of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..jupyter import running
from ..layout import printable
from ..link.address import KernelAddress
from ..link.thread import io_thread
from ..remotekernel import State, Status
from .events import Events, call_there

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel


#: Seconds that a start waits for a person to log in.
PERSON = 300.0


class States:
    """Keeps the latest state of each kernel, and tells of each change.

    All methods belong to the server's loop; what comes from the I/O thread crosses over in order.
    `root` is the directory that the browser sees as the top; `closed` is called when a kernel of
    ours was ended, or has failed to start.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: Events,
        root: str,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._events = events
        self._root = root
        self._closed = closed
        self._loop = loop
        self._kernels: dict[RemoteKernel, dict[str, Any]] = {}
        self.is_watched = (
            False  # whether a page of ours has asked: then starts may wait for a person
        )
        self._number = 0  # of the latest change
        self._keys = itertools.count(1)  # one a kernel: a later kernel has a greater
        self._server = secrets.token_hex(4)  # numbers of another life of the server don't compare

    def begin(self) -> None:
        """Hear of kernels from now on, and of those that there are."""
        io_thread().loop.call_soon_threadsafe(running.watch, self._added)

    def _added(self, added: running.Running) -> None:
        """On the I/O thread."""

        key = next(self._keys)
        if self.is_watched:
            added.kernel.person_timeout = PERSON

        is_new = True

        def changed(status: Status) -> None:
            nonlocal is_new
            if is_new and status.state is State.CONNECTED:
                is_new = False
                if added.kernel.was_there:
                    added.kernel.seeing(False)  # until a page says so
            call_there(self._loop, self._changed, key, added, status)

        added.kernel.subscribe(changed)
        added.kernel.watch_memory()
        changed(added.kernel.status)

    def _changed(self, key: int, changed: running.Running, status: Status) -> None:
        self._number += 1
        state = {
            **printable_all(status.to_json()),
            "key": key,
            "kernel_id": changed.kernel_id,
            "file": self._seen_from_root(changed.file),
            "about": printable_all(_about(changed.kernel)),
            "number": self._number,
            "server": self._server,
        }
        if status.state is State.CLOSED:
            self._kernels.pop(changed.kernel, None)
            self._closed()
        else:
            self._kernels[changed.kernel] = state
        self._events.tell("kernel", kernel=state, now=time.time())

    def now(self) -> dict[str, Any]:
        """What there is now."""
        return {
            "kernels": list(self._kernels.values()),
            "number": self._number,
            "server": self._server,
            "now": time.time(),
        }

    def find(self, kernel_id: str) -> list[RemoteKernel]:
        """The kernels with this id: seldom more than one, while one replaces another."""
        return [kernel for kernel, s in self._kernels.items() if s["kernel_id"] == kernel_id]

    def find_on_host(self, host: str, id: str) -> str:
        """Jupyter's id of the kernel that has the id `id` on a host; empty where none is here."""
        for kernel, state in self._kernels.items():
            address = kernel.address
            if not isinstance(address, KernelAddress) or kernel.exited is not None:
                continue
            if (address.destination.host, address.agent.id) == (host, id):
                return str(state["kernel_id"])
        return ""

    def _seen_from_root(self, file: str) -> str:
        path = os.path.relpath(file, self._root) if file else ""
        return "" if path.startswith("..") else path


def printable_all(told: Any) -> Any:
    """JSON: what a host has told, without what a terminal would obey and what turns text around."""
    if isinstance(told, dict):
        return {name: printable_all(value) for name, value in told.items()}
    if isinstance(told, list):
        return [printable_all(value) for value in told]
    return printable(told) if isinstance(told, str) else told


def _about(kernel: RemoteKernel) -> dict[str, Any]:
    """What is told of a kernel beside its state, for who looks closer."""
    facts = kernel.facts
    if facts is None:
        return {}
    address = kernel.address
    agent = address.agent if isinstance(address, KernelAddress) else None
    return {
        "kernel": facts["display_name"],
        "directory": facts["cwd"],
        "process": facts["pid"],
        "node": agent.node if agent else "",
        "agent": agent.id if agent else "",
        "python": agent.python if agent else "",  # of the environment, where it has one
    }
