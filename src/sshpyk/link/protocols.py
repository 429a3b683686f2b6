"""The two kinds of connection on the client's side: a carrier, and one from a Jupyter client."""

from __future__ import annotations

import asyncio
from hmac import compare_digest
from typing import TYPE_CHECKING, Protocol

from ..common.peers import is_stranger
from ..wire.carrier import Carrier
from ..wire.frames import REFUSED, WELCOME, Frame, ProtocolError, Refused
from .pacing import PORTION, Pacer

if TYPE_CHECKING:
    from ..wire.attachment import Attachment
    from ..wire.frames import Data
    from ..wire.stream import Stream
    from .idle import IdleWatch
    from .log import KernelLog
    from .rewriting import Rewriter

#: Bytes given to a socket before the loop has its turn.
TURN = 1024 * 1024

#: Bytes of one local client's requests that wait for the link before it is read no further.
MOST_WAITING = 64 * 1024 * 1024


class CarrierOwner(Protocol):
    """Whom a carrier's connection reports to."""

    def carrier_welcomed(self, protocol: CarrierProtocol) -> None:
        """The agent has taken it, and has proved to be the agent."""

    def carrier_heard(self, protocol: CarrierProtocol, frames: list[Frame]) -> None:
        """Bytes came, and with them these frames. Raises `ProtocolError`: the carrier ends."""

    def carrier_has_room(self, protocol: CarrierProtocol) -> None:
        """It takes more again."""

    def carrier_failed(self, protocol: CarrierProtocol, error: ProtocolError) -> None:
        """It is aborted for what came on it, or because the agent refuses it."""

    def carrier_lost(self, protocol: CarrierProtocol) -> None:
        """Its connection has ended."""


class CarrierProtocol(asyncio.Protocol):
    """The connection of a carrier of `attachment`, dialled for `stream`, over a forward's socket.

    `welcomed` becomes True when the agent takes it, False when the connection ends before, and a
    `ProtocolError` when the agent says why not, or can't prove by `proof` that it is the agent.
    """

    def __init__(
        self, owner: CarrierOwner, attachment: Attachment, stream: Stream, proof: bytes
    ) -> None:
        self.attachment = attachment
        self.stream = stream
        self.carrier = Carrier(self, TURN)
        self.welcomed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.error: Exception | None = None  # for which its connection has ended
        self._owner = owner
        self._proof = proof
        self._transport: asyncio.Transport | None = None
        self._has_heard = False
        self._is_welcome = False
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=TURN)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            if not self._has_heard and data[0] not in (WELCOME, REFUSED):
                raise ProtocolError("what answers is no agent: it did not begin with a welcome")
            self._has_heard = True
            frames = self.carrier.feed(data)
            if frames and not self._is_welcome:
                self._read_welcome(frames.pop(0))
            self._owner.carrier_heard(self, frames)
        except ProtocolError as error:
            self._end_welcome(error)
            self._owner.carrier_failed(self, error)
            self.abort()

    def _read_welcome(self, frame: Frame) -> None:
        if frame.type == REFUSED:
            raise Refused(bytes(frame.payload).decode("utf-8", "replace"))
        if not compare_digest(frame.payload, self._proof):
            raise ProtocolError("what answers is not the agent, but someone else")
        self._is_welcome = True
        self._owner.carrier_welcomed(self)
        if not self.welcomed.done():
            self.welcomed.set_result(True)

    def _end_welcome(self, error: ProtocolError) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(error)
            self.welcomed.exception()  # it may be that nobody waits for this one

    def send(self, parts: list[Data]) -> bool:
        """Called by the attachment; see `sshpyk.wire.carrier.Connection`."""
        if self._transport is None:
            return False
        self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        return not self._is_paused

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._owner.carrier_has_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.error = exc
        if not self.welcomed.done():
            self.welcomed.set_result(False)
        self._owner.carrier_lost(self)

    def close(self) -> None:
        """End it once what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once: the link behind it is dead."""
        if self._transport is not None:
            self._transport.abort()


class LocalEnd(Protocol):
    """The end of a stream here: the connection of a Jupyter client, or one to a port."""

    channel: str
    stream: Stream | None

    @property
    def pacer(self) -> Pacer | None:
        """What holds back what comes, for a reader with limits."""

    def deliver(self, now: float) -> None:
        """Give the program what has arrived for it."""

    def limit_reading(self) -> None:
        """Read from the program as long as what waits for the link is not too much."""

    def hold(self, held: bool) -> None:
        """Read nothing from the program until further notice."""

    def close(self) -> None:
        """End it once what was written has gone out."""


class LocalOwner(Protocol):
    """Whom the end of a stream reports to."""

    def local_opened(self, local: LocalEnd) -> Stream | None:
        """It is there; returns the stream whose end it is from now on, None to end it at once."""

    def local_wrote(self, stream: Stream, data: bytes) -> None:
        """It has sent bytes."""

    def local_has_room(self, stream: Stream) -> None:
        """It takes more than it did: have `LocalProtocol.deliver` called."""

    def local_closed(self, local: LocalEnd) -> None:
        """It has gone."""


class Accepted(asyncio.Protocol):
    """A connection that a program of this machine made to a local socket: whose it is, and whether
    it is read."""

    def __init__(self, log: KernelLog) -> None:
        self._log = log
        self._transport: asyncio.Transport | None = None
        self._is_reading = True
        self._is_paused = False

    def _refuse_stranger(self, transport: asyncio.Transport, what: str) -> bool:
        """End a connection to `what` that another user made; whether it was one.

        Local tcp sockets are open to every user of this machine. Who has no HMAC key could not run
        anything, but could read what the kernel publishes.
        """
        is_refused = is_stranger(transport.get_extra_info("socket"))
        if is_refused:
            self._log.warning(
                "! a connection to %s was refused: its other end is not this user's, or gone", what
            )
            transport.abort()
        return is_refused

    def _read(self, wanted: bool) -> None:
        """Read on, or wait."""
        if self._transport is not None and wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


class LocalProtocol(Accepted):
    """A connection that a Jupyter client made to one of the local sockets: the end of a stream.

    `pacer` is for the iopub of a Jupyter Server; `rewriters` are of what the client sends, and of
    what it gets.
    """

    def __init__(
        self,
        owner: LocalOwner,
        channel: str,
        log: KernelLog,
        pacer: Pacer | None = None,
        rewriters: tuple[Rewriter, Rewriter] | None = None,
    ) -> None:
        super().__init__(log)
        self._rewriters = rewriters
        self.watch: IdleWatch | None = None  # of what it gets
        self.channel = channel
        self.pacer = pacer
        self._owner = owner
        self.stream: Stream | None = None
        self._is_held = False
        self._is_let_go = False  # for what it has sent, or was to get
        self._later: asyncio.TimerHandle | None = None  # when the next portion may go on

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._refuse_stranger(transport, self.channel):
            return
        self.stream = self._owner.local_opened(self)
        if self.stream is None:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=TURN)
        self._transport = transport
        self.limit_reading()
        self._owner.local_has_room(self.stream)

    def data_received(self, data: bytes) -> None:
        if self.stream is None:
            return  # a stranger's, on its way out
        if self._rewriters is not None:
            data = self._rewrite(self._rewriters[0], data)
        self._owner.local_wrote(self.stream, data)
        self.limit_reading()

    def _rewrite(self, rewriter: Rewriter, data: bytes) -> bytes:
        """What goes on; nothing any more where that can't be told."""
        if self._is_let_go:
            return b""
        try:
            return rewriter.feed(data)
        except ValueError as error:
            self._log.warning("! a client on %s was let go: there was %s", self.channel, error)
            self._is_let_go = True
            self.close()
            return b""

    def limit_reading(self) -> None:
        """Read from the client as long as what waits for the link is not too much."""
        if self.stream is not None:
            self._read(not self._is_held and self.stream.unacknowledged <= MOST_WAITING)

    def hold(self, held: bool) -> None:
        """Read nothing from the client until further notice."""
        self._is_held = held
        self.limit_reading()

    def deliver(self, now: float) -> None:
        """Give the client what has arrived for it."""
        stream = self.stream
        while stream is not None and self._transport is not None and not self._is_paused:
            piece = stream.peek()
            if not piece:
                break
            size = len(piece) if self.pacer is None else self.pacer.allow(bytes(piece), now)
            if size:
                data = piece[:size]
                if self.watch is not None:
                    self.watch.feed(data)
                if self._rewriters is not None:
                    data = self._rewrite(self._rewriters[1], bytes(data))
                self._transport.write(data)
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
            self._owner.local_has_room(self.stream)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._later is not None:
            self._later.cancel()
        self._owner.local_closed(self)

    def close(self) -> None:
        """End it once what was written has gone out."""
        if self._transport is not None:
            self._transport.close()
