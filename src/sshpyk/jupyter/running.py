"""The remote kernels that this process has, for whoever shows them to people.

A provisioner adds each kernel before it is started, so that a start can be watched, too; one that
has closed leaves by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..remotekernel import RemoteKernel, State, Status


@dataclass(frozen=True)
class Running:
    """A remote kernel, Jupyter's id of it, and the file that it was started for, or nothing."""

    kernel_id: str
    kernel: RemoteKernel
    file: str = ""


Watcher = Callable[[Running], None]

_lock = threading.Lock()
_running: list[Running] = []
_watchers: list[Watcher] = []


def add(kernel_id: str, kernel: RemoteKernel, file: str = "") -> None:
    """There is a kernel; its start has not begun. On the I/O thread."""
    added = Running(kernel_id, kernel, file)

    def look(status: Status) -> None:
        if status.state is State.CLOSED:
            end()
            with _lock:
                _running.remove(added)

    with _lock:
        _running.append(added)
        watchers = list(_watchers)
    end = kernel.subscribe(look)
    for watcher in watchers:
        watcher(added)


def watch(watcher: Watcher) -> Callable[[], None]:
    """Have `watcher` called with each kernel that is added, on the I/O thread; what ends that.

    Call it there, too: then it is first called with all that there are, and misses none.
    """
    with _lock:
        _watchers.append(watcher)
        there = list(_running)
    for one in there:
        watcher(one)

    def end() -> None:
        with _lock:
            if watcher in _watchers:
                _watchers.remove(watcher)

    return end
