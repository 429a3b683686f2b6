"""The two kinds of connection on the client's side: a carrier, and one from a Jupyter client."""

from __future__ import annotations

import asyncio
import logging
from hmac import compare_digest
from typing import TYPE_CHECKING

from ..common.peers import is_stranger
from ..wire.carrier import Carrier
from ..wire.frames import REFUSED, WELCOME, ProtocolError
from ..wire.stream import Stream
from .pacing import PORTION, Pacer

if TYPE_CHECKING:
    from .streams import Streams

#: Bytes given to a socket before the loop has its turn.
TURN = 1024 * 1024

#: Bytes of one local client's requests that wait for the link before it is read no further.
MOST_WAITING = 64 * 1024 * 1024


class Refused(ProtocolError):
    """The agent's own word: why it does not take a carrier."""


class CarrierProtocol(asyncio.Protocol):
    """A carrier over a forward's local socket.

    `welcomed` becomes True when the agent takes it, False when the connection ends before, and a
    `ProtocolError` when the agent says why not, or can't prove by `proof` that it is the agent.
    """

    def __init__(self, streams: Streams, stream: Stream, proof: bytes) -> None:
        self.streams = streams
        self.stream = stream
        self.is_welcome = False
        self._proof = proof
        self.carrier = Carrier(streams.attachment)
        self.welcomed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._has_heard = False
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=TURN)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = self.streams.now()
        try:
            if not self._has_heard and data[0] not in (WELCOME, REFUSED):
                raise ProtocolError("what answers is no agent: it did not begin with a welcome")
            self._has_heard = True
            self.streams.owner.on_heard()
            for event in self.carrier.receive(data, now):
                if isinstance(event, Stream):
                    self.streams.attend(event, now)
                elif event.type == WELCOME:
                    if not compare_digest(event.payload, self._proof):
                        raise ProtocolError("what answers is not the agent, but someone else")
                    self._welcome(None)
                elif event.type == REFUSED:
                    raise Refused(event.payload.decode("utf-8", "replace"))
        except ProtocolError as error:
            level = logging.DEBUG
            if not isinstance(error, Refused):
                level = logging.WARNING
                self.streams.complaint = error
            self.streams.log.log(level, "! a carrier ended: %s", error)
            self._welcome(error)
            self.abort()
            return
        self.pump()

    def _welcome(self, error: ProtocolError | None) -> None:
        if self.welcomed.done():
            return
        if error is None:
            self.is_welcome = True
            if self.stream is self.streams.control:
                self.carrier.announce(self.stream)
            self.welcomed.set_result(True)
        else:
            self.welcomed.set_exception(error)
            self.welcomed.exception()  # it may be nobody who waits for this one

    def pump(self) -> None:
        """Send what there is to send, as far as the socket takes it."""
        now = self.streams.now()
        while self._transport is not None and not self._is_paused:
            parts = self.carrier.drain(now, TURN)
            if not parts:
                break
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        self.streams.settle(self.carrier)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.welcomed.done():
            self.welcomed.set_result(False)
        self.streams.carrier_lost(self)

    def close(self) -> None:
        """End it once what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once: the link behind it is dead."""
        if self._transport is not None:
            self._transport.abort()


class LocalProtocol(asyncio.Protocol):
    """A connection that a Jupyter client made to one of the local sockets: the end of a stream."""

    def __init__(self, streams: Streams, channel: str) -> None:
        self.streams = streams
        self.channel = channel
        self.stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._is_held = False
        self._is_reading = True
        self._is_paused = False
        self.pacer = Pacer(streams.limits) if streams.limits and channel == "iopub" else None
        self._later: asyncio.TimerHandle | None = None  # when the next portion may go on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if is_stranger(transport.get_extra_info("socket")):
            # Jupyter's tcp sockets are open to every user of this machine. Who has no HMAC key
            # could not run anything, but could read what the kernel publishes.
            self.streams.log.warning("! another user's connection to %s was refused", self.channel)
            transport.abort()
            return
        transport.set_write_buffer_limits(high=TURN)
        self._transport = transport
        self.stream = self.streams.local_opened(self)
        self.streams.attend(self.stream, self.streams.now())

    def data_received(self, data: bytes) -> None:
        if self.stream is None:
            return  # a stranger's, on its way out
        self.stream.write(data)
        self.streams.pump(self.stream)
        self.flow()

    def flow(self) -> None:
        """Read from the client as long as what waits for the link is not too much."""
        if self._transport is None or self.stream is None:
            return
        wanted = not self._is_held and self.stream.unacknowledged <= MOST_WAITING
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def hold(self, held: bool) -> None:
        """Read nothing from the client until further notice."""
        self._is_held = held
        self.flow()

    def flush(self, now: float) -> None:
        """Give the client what has arrived for it."""
        stream = self.stream
        while stream is not None and self._transport is not None and not self._is_paused:
            piece = stream.peek()
            if not piece:
                break
            size = len(piece) if self.pacer is None else self.pacer.take(piece, now)
            if size:
                self._transport.write(piece[:size])
                stream.consume(size, now)
            if size < len(piece):
                if self._later is None:
                    self._later = asyncio.get_running_loop().call_later(PORTION, self._go_on)
                break

    def _go_on(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self.stream is not None:
            self.streams.attend(self.stream, self.streams.now())

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._later is not None:
            self._later.cancel()
        self.streams.local_closed(self)

    def close(self) -> None:
        """End it once what was written has gone out."""
        if self._transport is not None:
            self._transport.close()
