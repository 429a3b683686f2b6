"""The URLs of the host's loopback that a kernel prints: Dask's dashboard, TensorBoard, and others.

They are told to clients that have asked for it, where a program of this user listens at the port.
A program may print where it will listen, so each port is looked at once more a moment later.
"""

from __future__ import annotations

import os

from ..common.peers import owner_of
from ..wire.ports import port_of, urls_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Set, Tuple

#: Seconds until a port at which nobody listens yet is looked at again.
AGAIN = 2.0

#: Ports of one kernel that are told of, and those that are looked at in vain: a kernel may print
#: any number of them.
MOST = 16
MOST_LOOKS = 64


class Printed:
    """What one kernel after another has printed. `tell` gets each new URL, `hurry` has `tick`
    called."""

    def __init__(self, tell: Callable[[str], None], hurry: Callable[[], None]) -> None:
        self.urls: Dict[int, str] = {}  # by their ports: the first that named it
        self._tell = tell
        self._hurry = hurry
        self._looked_at: Set[int] = set()  # ports at which nobody listened, a moment ago
        self._again: List[Tuple[float, str]] = []

    def look_for(self, text: bytes, now: float) -> None:
        """The kernel has printed `text`."""
        for url in urls_in(text):
            port = port_of(url)
            if port in self.urls or port in self._looked_at or len(self._looked_at) >= MOST_LOOKS:
                continue
            if not self._look_at(url, port):
                self._looked_at.add(port)
                self._again.append((now + AGAIN, url))
                self._hurry()

    def _look_at(self, url: str, port: int) -> bool:
        if os.getuid() not in (owner_of(("127.0.0.1", port)), owner_of(("::1", port))):
            return False
        if len(self.urls) < MOST:
            self.urls[port] = url
            self._tell(url)
        return True

    def tick(self, now: float) -> Optional[float]:
        """Look again at what is due; when there will be more."""
        while self._again and self._again[0][0] <= now:
            _, url = self._again.pop(0)
            self._looked_at.discard(port_of(url))  # it may be printed once more
            self._look_at(url, port_of(url))
        return self._again[0][0] if self._again else None

    def forget(self) -> None:
        """The kernel has ended, and its programs with it."""
        self.urls.clear()
        self._looked_at.clear()
        self._again.clear()
