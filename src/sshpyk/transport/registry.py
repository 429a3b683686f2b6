"""One transport for a destination, in all of the process."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from .base import Transport

#: Hosts that are remembered while no link uses them: that they forward no unix sockets, how long
#: their login takes, what their Pythons read.
MOST_REMEMBERED = 32

D = TypeVar("D", bound=Hashable)
T = TypeVar("T", bound=Transport)


class Registry(Generic[D, T]):
    """The transports that there are, as long as anybody uses them; and those that were used last.

    `make` makes one for a destination.
    """

    def __init__(self, make: Callable[[D], T]) -> None:
        self._make = make
        self._known: WeakValueDictionary[D, T] = WeakValueDictionary()
        self._remembered: OrderedDict[D, T] = OrderedDict()
        # A forked child has an I/O thread of its own, and so needs transports of its own.
        os.register_at_fork(after_in_child=self.forget_all)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, destination: D) -> T:
        """The one for `destination`; call it on the I/O thread."""
        found = self._known.get(destination)
        if found is None:
            found = self._known[destination] = self._make(destination)
        self._remembered[destination] = found
        self._remembered.move_to_end(destination)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def forget_all(self) -> None:
        """Begin as a new process would."""
        self._known.clear()
        self._remembered.clear()
