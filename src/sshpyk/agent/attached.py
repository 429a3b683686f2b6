"""A kernel that somebody else has started, and owns: a Jupyter Server. The agent is its client.

What is known of it is its connection file. It can't be started again from here, and signals are not
ours to send: who has it started does that. Only where its output can't be kept any more is it held
up, by SIGSTOP, if the system tells which process it is. Its end is seen when its connections end
and nothing listens any more.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import os
import time

from ..common.peers import holders_of
from ..wire.channels import CHANNELS
from . import records
from .boot import Failed
from .kernel import Kernel, Log
from .kernelspecs import KernelSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

    from .kernel import Address

#: Where a kernel that listens everywhere is to be found, and one that a name leads to.
LOOPBACK = ("", "*", "0.0.0.0", "localhost")  # nothing is bound here


#: Seconds after a connection's end when it is looked for.
LOOKS = (0.02, 0.2, 1.0)


class AttachedPlan:
    """Where the kernel of a launch request's "connection_file" takes connections, in place of a
    `kernel.Plan`. Raises `Failed` "not-attachable".

    A copy of that file is in the agent's `directory`, for who asks for the kernel's keys.
    """

    curve = False
    fork_server = False

    def __init__(self, request: Dict[str, Any], directory: str, sockets: str) -> None:
        self.directory = directory
        self.sockets = sockets
        self.origin: str = request["connection_file"]
        connection = self._read()
        # An interrupt is a request to the server, however it does that.
        facts = {"argv": ["-"], "interrupt_mode": "signal"}
        for name in ("display_name", "language"):
            facts[name] = str(request.get(name) or "")
        self.spec = KernelSpec(request["kernel_name"], "", facts)
        self.cwd = ""
        self.addresses: Dict[str, Address] = {}
        ip = str(connection.get("ip") or "")
        for channel in CHANNELS:
            port = connection[channel + "_port"]
            if connection.get("transport") == "ipc":
                self.addresses[channel] = f"{ip}-{port}"
            else:
                self.addresses[channel] = ("127.0.0.1" if ip in LOOPBACK else ip, port)
        records.write(os.path.join(directory, records.CONNECTION), connection)

    def _read(self) -> Dict[str, Any]:
        try:
            with open(self.origin, "rb") as file:
                connection = records.parse(file.read())
        except OSError as error:
            raise Failed("not-attachable", path=self.origin, reason=error.strerror) from None
        ports = [(connection or {}).get(channel + "_port") for channel in CHANNELS]
        if connection is None or not all(type(port) is int and port > 0 for port in ports):
            raise Failed("not-attachable", path=self.origin, reason="it is no connection file")
        if connection.get("curve_publickey"):
            # Requests to shut down could not be told from others.
            raise Failed("not-attachable", path=self.origin, reason="it speaks CURVE")
        return connection


class AttachedKernel(Kernel):
    """One process of such a kernel, as far as it can be seen from outside."""

    def __init__(self, request: Dict[str, Any], directory: str, sockets: str) -> None:
        self.plan: Any = AttachedPlan(request, directory, sockets)
        self.pid = 0
        self.bound = False
        self.exited = None
        self.started_at = time.time()
        self.begun = time.monotonic()
        self.argv = []
        self.output = self.errors = -1
        self.log = Log(os.path.join(directory, "kernel.log"))
        self._found: Set[str] = set()
        self._looks: List[float] = []  # when to see whether it is there
        self._is_let_go = False
        self._held: List[int] = []  # processes that wait for us, by SIGSTOP

    @property
    def pipes(self) -> Tuple[int, ...]:
        return ()

    def confirm(self) -> None:
        """It is the server's to start it."""

    def doubt(self) -> None:
        # A process that exits closes one thing after the other, and may take its time.
        now = time.monotonic()
        self._looks = [now + pause for pause in LOOKS]

    @property
    def next_look(self) -> Optional[float]:
        return self._looks[0] if self._looks and self.exited is None else None

    def lose_sockets(self) -> None:
        super().lose_sockets()
        self.doubt()

    def signal(self, signum: int) -> None:
        """Hold it up or let it go on. Other signals are the server's to send; what would end it
        makes the agent let go of it."""
        if signum == signal.SIGSTOP and not self._held:
            address = self.plan.addresses["shell"]
            self._held = [] if isinstance(address, str) else holders_of(address)
            self._kill_held(signum)
        elif signum in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            self._kill_held(signal.SIGCONT)
            self._held = []
            self._is_let_go = self._is_let_go or signum != signal.SIGCONT

    def _kill_held(self, signum: int) -> None:
        for pid in self._held:
            try:
                os.kill(pid, signum)
            except OSError:
                pass  # it has ended

    def reap(self) -> bool:
        if self.exited is None and self._is_let_go:
            self.exited = self._ended("")
        elif self.exited is None and self._looks and time.monotonic() >= self._looks[0]:
            del self._looks[0]
            if not self.is_there():
                self.exited = self._ended("its server may have started it again")
        return self.exited is not None

    def _ended(self, note: str) -> Dict[str, Any]:
        return {"pid": 0, "code": None, "signum": None, "stderr": "", "note": note, "peak": None}

    def kill(self) -> None:
        """The launch was given up: nothing of it is ours."""
