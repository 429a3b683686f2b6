"""Whether anybody sees what kernels print, and what they printed while nobody did.

Jupyter Server listens to its kernels without end, so hosts can't know whether a browser is there.
This tells them; what nobody sees they keep, and it goes into the notebook that is opened next.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..cli import logs, missed
from ..cli.place import Place
from ..layout import printable
from ..link.address import KernelAddress
from ..link.thread import io_thread

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel

#: Seconds that a page of ours has to ask for what was missed, before other pages (another front
#: end's) count as seeing all.
CLAIM = 10.0


class Seeing:
    """Tells the hosts of kernels whether a browser is there.

    `manager` is Jupyter Server's of kernels, which is told of each websocket, and `find` gives the
    remote kernels of one of its ids. All on the server's loop.
    """

    def __init__(self, manager: Any, find: Callable[[str], list[RemoteKernel]]) -> None:
        self._manager = manager
        self._find = find
        self._claims: dict[str, asyncio.TimerHandle] = {}
        self._unseen: set[str] = set()  # the kernels that once printed for nobody
        # Nothing else tells of websockets, and asking again and again is no way to find out.
        self._follow("notify_connect", self._connected)
        self._follow("notify_disconnect", self._disconnected)

    def _follow(self, name: str, then: Callable[[str], None]) -> None:
        before = getattr(self._manager, name)

        def method(kernel_id: str) -> Any:
            result = before(kernel_id)
            then(kernel_id)
            return result

        setattr(self._manager, name, method)

    def _connected(self, kernel_id: str) -> None:
        if kernel_id not in self._claims:
            loop = asyncio.get_running_loop()
            self._claims[kernel_id] = loop.call_later(CLAIM, self.claim, kernel_id)

    def _disconnected(self, kernel_id: str) -> None:
        is_there = kernel_id in self._manager and bool(self._find(kernel_id))
        if is_there and self._manager.kernel_model(kernel_id)["connections"]:
            return
        claim = self._claims.pop(kernel_id, None)
        if claim is not None:
            claim.cancel()
        if is_there:
            self._unseen.add(kernel_id)
            self._tell(kernel_id, False)
        else:
            self._unseen.discard(kernel_id)

    def claim(self, kernel_id: str, *, resumed: bool = False) -> None:
        """A page shows what the kernel prints; `resumed`: it has done so before, and got all."""
        claim = self._claims.get(kernel_id)
        if claim is not None:
            claim.cancel()
            self._tell(kernel_id, True, resumed=resumed)

    def _tell(self, kernel_id: str, seeing: bool, *, resumed: bool = False) -> None:
        for kernel in self._find(kernel_id):
            work = functools.partial(kernel.seeing, seeing, resumed=resumed)
            io_thread().loop.call_soon_threadsafe(work)

    def saved(self, kernel_id: str, message: str) -> None:
        """A page has saved what came up to this message."""
        for kernel in self._find(kernel_id):
            io_thread().loop.call_soon_threadsafe(kernel.seen, message)

    async def collect(
        self, kernel: RemoteKernel, kernel_id: str, notebook: dict[str, Any], after: str
    ) -> dict[str, Any]:
        """What is to change in a notebook, of which the page has what came up to the message
        `after`. Raises `SshpykError`.

        `notebook` has code cells only, and such metadata as `missed.collect` leaves.
        """
        address = kernel.address
        has_missed = kernel.was_there or kernel_id in self._unseen
        if not has_missed or not isinstance(address, KernelAddress):
            self.claim(kernel_id)
            return {"cells": {}, "requests": {}, "count": 0, "homeless": []}
        place, id = Place(address.destination, address.agent.python), address.agent.id
        lines = (await io_thread().run(logs.outputs(place, id))).lines
        # What comes from now on the page gets by itself; what it got meanwhile, it can tell.
        self.claim(kernel_id)
        return await asyncio.to_thread(_collect, notebook, lines, id, after)


def _collect(
    notebook: dict[str, Any], lines: list[missed.Line], kernel: str, after: str
) -> dict[str, Any]:
    cells = notebook["cells"]
    before = [json.dumps(cell) for cell in cells]
    found = missed.collect(notebook, lines, kernel, after_message=after)
    numbers = {id(cell): number for number, cell in enumerate(cells)}
    # The page may get these by itself as well, later than we have read them.
    messages = [
        line["header"]["msg_id"]
        for line in lines
        if "mark" not in line and line["parent"]["msg_id"] in found.requests
    ]
    return {
        "cells": {
            number: {"outputs": cell["outputs"], "execution_count": cell["execution_count"]}
            for number, cell in enumerate(cells)
            if json.dumps(cell) != before[number]
        },
        "requests": {request: numbers[id(cell)] for request, cell in found.requests.items()},
        "count": found.count,
        "homeless": [printable(code.strip().partition("\n")[0][:60]) for code in found.homeless],
        "messages": messages,
        "kernel": kernel,
        "metadata": notebook["metadata"][missed.METADATA],
    }
