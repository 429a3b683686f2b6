"""Who gets what: messages between local clients and the kernel. No I/O.

The server sees one client, with one identity for all channels; here there may be many, each of
which gets the answers to what it has asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .framing import FramingError, to_object
from .messages import Request, Requests, make

if TYPE_CHECKING:
    from ..link.log import KernelLog

#: Channels whose messages go to the one who asked.
ANSWERED = ("shell", "control", "stdin")

#: What a kernel, or its server, says of its state.
STATES = ("busy", "idle", "restarting", "dead")

#: What `from_kernel` tells beside those: the kernel was told to end.
SHUTDOWN = "shutdown"

#: What shows how far the kernel is: it changes nothing, and its answer is that of others like it.
FENCE = "kernel_info_request"

#: (channel, identities, parts); on iopub the one identity is the topic.
ToClient = Callable[[str, Sequence[bytes], Sequence[bytes]], None]
ToKernel = Callable[[str, Sequence[bytes]], object]


class Exchange:
    """What has been asked of one kernel, and by whom; `session` is what our own messages are of."""

    def __init__(
        self, session: str, log: KernelLog, *, to_client: ToClient, to_kernel: ToKernel
    ) -> None:
        self.topic = b""  # of what we publish
        self.requests = Requests()
        self._session = session
        self._log = log
        self._to_client = to_client
        self._to_kernel = to_kernel
        self.running = b"{}"  # the header of the request that output last was of
        #: Whether nothing was published since the kernel was idle: threads may go on in it.
        self.is_quiet = True
        self._fences: dict[str, list[Request]] = {}

    def from_kernel(self, channel: str, parts: list[bytes]) -> str | None:
        """Pass a message of the kernel's on; one of `STATES` or `SHUTDOWN` where it tells that.

        Raises `FramingError`.
        """
        if len(parts) < 4:
            raise FramingError("a message of too few parts")
        if channel == "iopub":
            told = self._told(parts)
            self._to_client("iopub", [self.topic], parts)
            return told
        if channel not in ANSWERED:
            raise FramingError(f"a message on {channel!r:.40}")
        id = to_object(parts[1]).get("msg_id")
        if isinstance(id, str) and id in self._fences:
            for request in self._fences.pop(id):
                if request.id not in self.requests.open:
                    continue
                if request.type == FENCE:
                    self._answer(request, "kernel_info_reply", to_object(parts[3]))
                else:
                    self.lost(request)
            return None
        found = self.requests.find(id)
        if found is None:
            self._log.debug("< an answer on %s to what nobody has asked", channel)
            return None
        if channel == found.channel:
            self.requests.answered(found)
        self._to_client(channel, found.identities, parts)
        return None

    def _told(self, parts: list[bytes]) -> str | None:
        # Most are only passed on, and not even their header is read.
        if b'"shutdown_reply"' in parts[0]:
            return SHUTDOWN
        self.running = parts[1]
        self.is_quiet = False
        if b'"status"' not in parts[0] or to_object(parts[0]).get("msg_type") != "status":
            return None
        state = to_object(parts[3]).get("execution_state")
        if state == "idle":
            self.running = b"{}"
            self.is_quiet = True
        return state if state in STATES else None

    def answer_shutdown(self, request: Request, content: bytes) -> bool:
        """Answer a shutdown_request in the kernel's place; whether it is part of a restart."""
        is_restart = bool(to_object(content).get("restart"))
        self.requests.answered(request)
        self._reply(request, "shutdown_reply", {"status": "ok", "restart": is_restart})
        return is_restart

    def tell_gap(self, since: float, until: float, running: bytes) -> None:
        """Say in the cell that runs what the protocol can't tell: that output may be missing.

        Times are in seconds since 1970; `running` is what `running` was when the connection broke,
        for what comes first on the next one may be of other requests.
        """
        first, last = (time.strftime("%H:%M:%S", time.localtime(t)) for t in (since, until))
        text = f"the server may have dropped output between {first} and {last}"
        self._log.warning("! %s", text)
        self._publish("stream", {"name": "stderr", "text": f"sshpyk: {text}\n"}, running)

    def set_fences(self, is_busy: bool) -> None:
        """Have the kernel say when it is through with all that was asked before the connection
        broke: what it has not answered by then it never will."""
        self._fences.clear()
        for channel in ("shell", "control"):
            waiting = [
                request
                for request in self.requests.open.values()
                if request.channel == channel and request.in_order
            ]
            # Its answer also tells whether the kernel is busy still.
            if waiting or (is_busy and channel == "shell"):
                id, parts = make(FENCE, {}, session=self._session)
                self._fences[id] = waiting
                self._to_kernel(channel, parts)

    def lost(self, request: Request) -> None:
        """Answer a request whose own answer will not come, so that nobody waits for ever."""
        self._log.warning("! no answer came to %s", request.type)
        if not request.type.endswith("_request"):
            return
        what = "The connection to the server broke while this was under way, and no answer came."
        why = f"{what} It may have run. It was not sent again."
        error = {"ename": "ConnectionLost", "evalue": why}
        reply = {"status": "error", **error, "traceback": []}
        if request.type == "execute_request":
            traceback = [f"{error['ename']}: {why}"]
            self._publish("error", {**error, "traceback": traceback}, request.header)
        self._answer(request, request.type.removesuffix("_request") + "_reply", reply)

    def _answer(self, request: Request, type: str, content: Mapping[str, object]) -> None:
        """Answer a request in the kernel's place, which is through with it."""
        self.requests.answered(request)
        self._reply(request, type, content)
        if request.channel == "shell":
            self._publish("status", {"execution_state": "idle"}, request.header)

    def _reply(self, request: Request, type: str, content: Mapping[str, object]) -> None:
        _, parts = make(type, content, session=self._session, parent=request.header)
        self._to_client(request.channel, request.identities, parts)

    def _publish(self, type: str, content: Mapping[str, object], parent: bytes) -> None:
        _, parts = make(type, content, session=self._session, parent=parent)
        self._to_client("iopub", [self.topic], parts)
