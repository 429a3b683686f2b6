"""The local end: five ZMQ sockets, to which Jupyter's clients connect as to a local kernel's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq

from ..wire.channels import CHANNELS
from .framing import FramingError
from .messages import Signer, make

if TYPE_CHECKING:
    from ..link.log import KernelLog
    from ..wire.requests import Keys

#: What answers on which channel. XPUB passes on what clients subscribe to, so that we see them.
KINDS = {
    "shell": zmq.ROUTER,
    "control": zmq.ROUTER,
    "stdin": zmq.ROUTER,
    "hb": zmq.ROUTER,
    "iopub": zmq.XPUB,
}

#: Messages that wait for one client that does not read. The server sends a thousand a second at
#: most, so that nobody who reads at all comes near it.
MOST_WAITING = 20_000

#: Messages read in one go: other kernels share this thread.
IN_ONE_GO = 100

#: Milliseconds that what clients were sent has to go out, once they are closed.
LINGER = 1000

#: Ours, a process each: one that others share might be ended by them, with all its sockets.
_contexts: dict[int, zmq.Context[Any]] = {}

Receiver = Callable[[str, list[bytes], list[bytes]], None]


class Endpoints:
    """Serves local clients; belongs to the I/O thread.

    `session` is what our own messages are of. `receive` is called with channel, identities and
    parts of each message that a client has sent and signed, while reading is not paused.
    Heartbeats are answered here.
    """

    def __init__(self, keys: Keys, log: KernelLog, session: str, receive: Receiver) -> None:
        self._keys = keys
        self._signer = Signer(keys["key"].encode("ascii"), keys["signature_scheme"])
        self._log = log
        self._session = session
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[str, zmq.Socket[Any]] = {}
        self._paused = {"shell", "control", "stdin"}  # until `read`
        self._subscriptions = 0

    def listen(self, sockets: Mapping[str, socket.socket]) -> None:
        """Serve these, bound, one a channel; clients that are connected stay so."""
        for channel in CHANNELS:
            given = sockets[channel]
            is_ipc = given.family == socket.AF_UNIX
            if channel in self._sockets and not is_ipc:
                given.close()  # a duplicate of what is served already
                continue
            given.listen(128)
            address = given.getsockname()
            if channel not in self._sockets:
                self._sockets[channel] = self._make(channel)
            served = self._sockets[channel]
            served.setsockopt(zmq.USE_FD, given.detach())
            if is_ipc:
                served.bind(f"ipc://{address}")
            else:
                name = f"[{address[0]}]" if ":" in address[0] else address[0]
                served.bind(f"tcp://{name}:{address[1]}")
            self._read_soon(channel)

    def _make(self, channel: str) -> zmq.Socket[Any]:
        if os.getpid() not in _contexts:
            _contexts[os.getpid()] = zmq.Context()
        made: zmq.Socket[Any] = _contexts[os.getpid()].socket(KINDS[channel])
        made.linger = LINGER
        made.sndhwm = MOST_WAITING
        if channel == "iopub":
            made.setsockopt(zmq.XPUB_VERBOSER, 1)
        else:
            # A client that comes again has the same identity, and is not to be turned away.
            made.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if "curve_secretkey" in self._keys:
            made.curve_server = True
            made.curve_publickey = self._keys["curve_publickey"].encode("ascii")
            made.curve_secretkey = self._keys["curve_secretkey"].encode("ascii")
        self._loop.add_reader(made.FD, self._read, channel)
        return made

    def read(self, channel: str, wanted: bool) -> None:
        """Read what clients send to `channel`, or let it wait with them."""
        if wanted:
            self._paused.discard(channel)
            self._read_soon(channel)
        else:
            self._paused.add(channel)

    def send(self, channel: str, identities: Sequence[bytes], parts: Sequence[bytes]) -> None:
        """Send a message to the client of these `identities`; on iopub to all, under the topic."""
        served = self._sockets.get(channel)
        if served is not None:
            self._put(served, self._signer.pack(identities, parts))
            # ZMQ tells of what comes only once, and sending may have been when it did.
            self._read_soon(channel)

    def has_client(self, channel: str) -> bool:
        """Whether a client listens to iopub; of other channels nobody can tell."""
        return channel == "iopub" and self._subscriptions > 0

    def close(self) -> None:
        """End all of it; what clients were sent still goes out."""
        for served in self._sockets.values():
            self._loop.remove_reader(served.FD)
            served.close()
        self._sockets.clear()

    def _read_soon(self, channel: str) -> None:
        self._loop.call_soon(functools.partial(self._read, channel))

    def _read(self, channel: str) -> None:
        for _ in range(IN_ONE_GO):
            served = self._sockets.get(channel)
            if served is None or channel in self._paused:
                return
            try:
                frames = served.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if channel == "hb":
                self._put(served, frames)
            elif channel == "iopub":
                self._on_subscription(frames[0])
            else:
                self._take(channel, frames)
        self._read_soon(channel)

    def _on_subscription(self, said: bytes) -> None:
        """Answer as kernels do since version 5.4 of their protocol: the way is open."""
        topic = said[1:]
        if said[:1] == b"\0":
            self._subscriptions -= 1
        elif said[:1] == b"\1":
            self._subscriptions += 1
            content = {"subscription": topic.decode("utf-8", "replace")}
            _, parts = make("iopub_welcome", content, session=self._session)
            self._put(self._sockets["iopub"], self._signer.pack([topic], parts))

    def _take(self, channel: str, frames: list[bytes]) -> None:
        try:
            identities, parts = self._signer.unpack(frames)
            self._receive(channel, identities, parts)
        except FramingError as error:
            self._log.warning("! a local client sent %s on %s", error, channel)

    def _put(self, served: zmq.Socket[Any], frames: list[bytes]) -> None:
        with contextlib.suppress(zmq.Again):  # a client whose queue is full, as with any kernel
            served.send_multipart(frames, zmq.NOBLOCK, copy=False)
