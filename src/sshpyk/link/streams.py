"""The streams of a link: local sockets on one side, carriers on the other, no idea of ssh.

A thin asyncio shell over `sshpyk.wire`; the agent's `serve.Client` is its counterpart.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from ..aio import within
from ..common.peers import proof
from ..wire.carrier import Attachment, Carrier
from ..wire.channels import AGENT, CHANNELS
from ..wire.control import MessageReader
from ..wire.frames import HELLO, PING, Frame, ProtocolError
from ..wire.liveness import Backoff
from ..wire.stream import Stream
from .log import KernelLog
from .pacing import Limits
from .protocols import CarrierProtocol, LocalProtocol

if TYPE_CHECKING:
    from ..transport.base import Dialer
    from ..wire.control import Message

#: A stream that has brought so many bytes gets so many carriers. ssh gives each channel a window of
#: 2 MiB, so on a long link one carrier brings 2 MiB a round trip.
MUCH = 1024 * 1024
MOST_CARRIERS = 6


class Owner(Protocol):
    """Whom the streams report to: the link."""

    def on_message(self, message: Message) -> None:
        """The agent said something on the control stream."""

    def on_heard(self) -> None:
        """Bytes came from the host."""

    def on_broken(self) -> None:
        """The control carrier has ended, so the link is gone."""


class Streams:
    """All streams of one link. `token` lets its carriers in; see `connect` for the rest."""

    def __init__(self, owner: Owner, log: KernelLog, token: str) -> None:
        self.owner = owner
        self.log = log
        self.attachment = Attachment(secrets.token_hex(16))
        self.control = self.attachment.open(AGENT)
        self.limits: Limits | None = None  # of those who read iopub; set it before `listen`
        self.complaint: ProtocolError | None = None  # what came last that no agent sends
        self._messages = MessageReader()
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._locals: dict[Stream, LocalProtocol] = {}
        self._spares: dict[str, Stream] = {}  # a channel's stream that has no local client yet
        self._servers: list[asyncio.Server] = []
        self._carriers: set[CarrierProtocol] = set()
        self._control_carrier: CarrierProtocol | None = None
        self._dialer: Dialer | None = None  # None while there is no way to the agent
        self._is_known = False  # whether the agent has welcomed this attachment
        self._is_held = False
        self._backoff = Backoff()
        self._dials: dict[Stream, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return self._loop.time()

    def use_token(self, token: str) -> None:
        """Show this token from now on: the agent is another than the one that was to be."""
        self._token = token

    # -- local sockets ---------------------------------------------------------------------------

    async def listen(self, sockets: Mapping[str, socket.socket]) -> None:
        """Serve local sockets, bound, one for each channel, until `close` or other sockets."""
        self._stop_listening()
        for channel in CHANNELS:
            sock = sockets[channel]
            protocol = self._local_factory(channel)
            if sock.family == socket.AF_UNIX:
                server = await self._loop.create_unix_server(protocol, sock=sock)
            else:
                server = await self._loop.create_server(protocol, sock=sock)
            self._servers.append(server)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _local_factory(self, channel: str) -> Callable[[], LocalProtocol]:
        return lambda: LocalProtocol(self, channel)

    def local_opened(self, local: LocalProtocol) -> Stream:
        """A Jupyter client connected: it gets a stream, and a carrier if there can be one now.

        The first on each channel gets one that is connected to the kernel already: that saves two
        round trips of a kernel's first reply.
        """
        stream = self._spares.pop(local.channel, None) or self.attachment.open(local.channel)
        self._locals[stream] = local
        if self._is_held and local.channel == "control":
            local.hold(True)
        self._dial_soon(stream)
        return stream

    def local_closed(self, local: LocalProtocol) -> None:
        """A Jupyter client has gone; what it sent before still goes to the kernel."""
        stream = local.stream
        if stream is None or self._locals.pop(stream, None) is None:
            return
        stream.close()
        if stream.was_announced:
            self.pump(stream)
        else:
            # The agent has never heard of it, so the kernel never greeted it, and ZMQ sends no
            # message before: nothing is lost, and a heartbeat that gives up every second while
            # the link is away costs nothing.
            self.attachment.discard(stream)

    def hold_control(self, held: bool) -> None:
        """Keep what clients send to the kernel's control channel from it, or let it go on."""
        self._is_held = held
        for stream, local in self._locals.items():
            if stream.channel == "control":
                local.hold(held)

    def pace(self) -> None:
        """What piled up while the link was away comes now: hand it on no faster than allowed."""
        for local in self._locals.values():
            if local.pacer is not None:
                local.pacer.begin(self.now())

    # -- connecting ------------------------------------------------------------------------------

    async def connect(self, dialer: Dialer, timeout: float) -> bool:
        """Carry the streams through connections of `dialer`.

        Returns whether an agent answered there. Raises `ProtocolError` where it refuses us,
        TimeoutError where it says nothing for `timeout` seconds.
        """
        self.cut()
        self.attachment.generation += 1
        self._dialer = dialer
        protocol = await self._dial(self.control)
        if protocol is None or not await within(timeout, protocol.welcomed):
            return False
        if not self._is_known:
            self._spares = {channel: self.attachment.open(channel) for channel in CHANNELS}
        self._is_known = True
        self._control_carrier = protocol
        self._backoff.reset()
        for stream in list(self.attachment.streams.values()):
            if stream is not self.control:
                self._dial_soon(stream)
        return True

    @property
    def is_connected(self) -> bool:
        """Whether there is a control carrier, for all that is known here."""
        return self._control_carrier is not None

    def cut(self) -> None:
        """End all carriers; the streams wait for the next `connect`."""
        self._dialer = None
        self._control_carrier = None
        for protocol in list(self._carriers):
            self._carriers.discard(protocol)
            protocol.carrier.lost()
            protocol.abort()
        for dial in self._dials.values():
            dial.cancel()
        self._dials = {}

    def begin_anew(self) -> None:
        """The agent knows this attachment no more: clients connect again, to a new one."""
        self.cut()
        for local in list(self._locals.values()):
            local.close()
        self._locals.clear()
        self._spares.clear()
        self.attachment = Attachment(secrets.token_hex(16))
        self.control = self.attachment.open(AGENT)
        self._messages = MessageReader()
        self._is_known = False

    def close(self) -> None:
        """End everything."""
        self._stop_listening()
        self.cut()
        if self._timer is not None:
            self._timer.cancel()
        for local in list(self._locals.values()):
            local.close()

    # -- carriers --------------------------------------------------------------------------------

    def _dial_soon(self, stream: Stream, pause: float = 0.0) -> None:
        """Give a stream one more carrier, if it still wants one after `pause` seconds."""

        async def dial() -> None:
            await asyncio.sleep(pause)
            while stream.id in self.attachment.streams and self._wants_carrier(stream):
                if await self._dial(stream) is not None:
                    return
                await asyncio.sleep(self._backoff.pause())

        if self._control_carrier is not None and stream not in self._dials:
            dials = self._dials
            task = dials[stream] = self._loop.create_task(dial())
            task.add_done_callback(lambda _: dials.pop(stream, None))

    def _wants_carrier(self, stream: Stream) -> bool:
        has = len(stream.carriers)
        return has < (MOST_CARRIERS if stream.position >= MUCH else 1)

    async def _dial(self, stream: Stream) -> CarrierProtocol | None:
        """Give a stream a carrier; None where nothing takes the connection."""
        dialer = self._dialer
        if dialer is None:
            return None
        generation = self.attachment.generation
        nonce = secrets.token_hex(16)
        protocol = CarrierProtocol(self, stream, proof(self._token, nonce))
        try:
            await dialer.dial(stream.channel, lambda: protocol)
        except OSError as error:
            self.log.debug("! no carrier for %s: %s", stream.channel, error)
            return None
        is_there = self.attachment.streams.get(stream.id) is stream
        if generation != self.attachment.generation or not is_there:
            protocol.abort()  # cut, or let go of by its client, meanwhile
            return None
        self._carriers.add(protocol)
        hello = {
            "version": 1,
            "token": self._token,
            "attachment": self.attachment.id,
            "generation": generation,
            "oldest": self.attachment.oldest,
            "known": self._is_known,
            "nonce": nonce,
        }
        protocol.carrier.send(Frame(HELLO, payload=json.dumps(hello).encode("ascii")))
        if stream is not self.control:
            # The control carrier's comes with its welcome: only then is it known to be the agent.
            protocol.carrier.announce(stream)
        protocol.pump()
        return protocol

    def carrier_lost(self, protocol: CarrierProtocol) -> None:
        """A carrier's connection has ended."""
        streams = protocol.carrier.lost()
        if protocol not in self._carriers:
            return
        self._carriers.discard(protocol)
        if protocol is self._control_carrier:
            self._control_carrier = None
            self.owner.on_broken()
            return
        pause = self._backoff.pause()
        for stream in streams:
            self._dial_soon(stream, pause)

    def attend(self, stream: Stream, now: float) -> None:
        """A stream has changed: deliver, close, send."""
        if stream is self.control:
            while piece := stream.peek():
                stream.consume(len(piece), now)
                for message in self._messages.feed(piece):
                    self.owner.on_message(message)
        else:
            local = self._locals.get(stream)
            if stream.is_ending and self._spares.get(stream.channel) is stream:
                # Nobody came: a ZMQ socket waits thirty seconds for a greeting.
                del self._spares[stream.channel]
                stream.close()
            if local is not None:
                local.flush(now)
                local.flow()
                if stream.peer_closed:
                    local.close()
                elif self._wants_carrier(stream):
                    self._dial_soon(stream)
        self.pump(stream)

    def pump(self, stream: Stream) -> None:
        """Send what the stream has to send on the carriers it has."""
        for protocol in list(self._carriers):
            if protocol.carrier in stream.carriers:
                protocol.pump()
        self._arm()

    def settle(self, carrier: Carrier) -> None:
        """Let go of the streams of a carrier that are over, and of the carrier with its last."""
        for stream in carrier.streams[:]:
            if stream.done:
                self.attachment.discard(stream)
        if not carrier.streams:
            for protocol in [p for p in self._carriers if p.carrier is carrier and p.is_welcome]:
                self._carriers.discard(protocol)
                protocol.close()

    def say(self, line: bytes) -> None:
        """Send a control message; it arrives when the link is there."""
        self.control.write(line)
        self.pump(self.control)

    def ping(self) -> None:
        """Ask the agent for a sign of life."""
        if self._control_carrier is not None:
            self._control_carrier.carrier.send(Frame(PING))
            self._control_carrier.pump()

    def _arm(self) -> None:
        """See to it that acknowledgements go out when they are due."""
        if self._timer is None:
            deadline = self.attachment.next_deadline()
            # What is due already waits for room on its carrier, which brings it by itself.
            if deadline is not None and deadline > self.now():
                self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        for protocol in list(self._carriers):
            protocol.pump()
        self._arm()

    def has(self, channel: str) -> bool:
        """Whether a Jupyter client is connected to this channel."""
        return any(stream.channel == channel for stream in self._locals)
