"""The streams of a link: local sockets on one side, carriers on the other, no idea of ssh.

A thin asyncio shell over `sshpyk.wire.attachment`; its counterpart is `sshpyk.agent.client`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from ..aio import within
from ..common.peers import proof
from ..wire.attachment import Attachment
from ..wire.channels import forward_of
from ..wire.frames import HELLO, Frame, ProtocolError, Refused
from ..wire.liveness import Backoff
from ..wire.stream import Stream
from ..wire.zmtp import GREETING, Ahead
from .first import FirstCarrier
from .heartbeat import Heartbeat
from .idle import IdleWatch
from .listener import Listener
from .log import KernelLog
from .pacing import Limits, Pacer
from .protocols import CarrierProtocol, LocalProtocol
from .shutdowns import Filter

if TYPE_CHECKING:
    from ..transport.base import Dialer
    from ..wire.control import Message
    from .protocols import LocalEnd
    from .rewriting import Rewriter

#: A stream that has brought so many bytes gets as many carriers as its dialer is good for.
MUCH = 1024 * 1024


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
        self.attachment = Attachment(secrets.token_hex(16), self, is_client=True)
        self.limits: Limits | None = None  # of those who read iopub; set it before `listen`
        self.on_shutdown: Callable[[bool], None] | None = None  # of requests not for the kernel
        #: Of what a client sends, and of what it gets; set it before `listen`.
        self.rewriters: Callable[[], tuple[Rewriter, Rewriter]] | None = None
        self.rests = False  # whether nothing is sent while nothing happens; before `connect`
        self.greets = False  # whether kernels may be greeted before their clients come
        self.answers_heartbeats = False  # here; set it before `listen`
        self.violation: ProtocolError | None = None  # what came last that no agent sends
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._locals: dict[Stream, LocalEnd] = {}
        self._filters: WeakKeyDictionary[Stream, Filter] = WeakKeyDictionary()
        self._spares: dict[str, Stream] = {}  # a channel's stream that has no local client yet
        self._ahead: WeakKeyDictionary[Stream, Ahead] = WeakKeyDictionary()
        self._early: dict[str, Stream] = {}  # these, until the agent is known to be the agent
        self._listeners: list[Listener] = []
        self._served: tuple[str, ...] = ()  # the channels that have local sockets
        self._is_closed = False
        self._greeted: CarrierProtocol | None = None  # the control carrier before its welcome
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

    def listen(self, sockets: Mapping[str, socket.socket]) -> None:
        """Serve local sockets, bound, by their channels, until `close` or other sockets."""
        self._stop_listening()
        for channel, sock in sockets.items():
            self._listeners.append(Listener(sock, self._local_factory(channel), self.log))
        self._served = tuple(sockets)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _local_factory(self, channel: str) -> Callable[[], asyncio.Protocol]:
        if channel == "hb" and self.answers_heartbeats:
            return Heartbeat

        def make() -> LocalProtocol:
            pacer = Pacer(self.limits) if self.limits and channel == "iopub" else None
            rewriters = self.rewriters() if self.rewriters is not None else None
            return LocalProtocol(self, channel, self.log, pacer, rewriters)

        return make

    def local_opened(self, local: LocalEnd) -> Stream | None:
        """A Jupyter client connected: it gets a stream, and a carrier if there can be one now.

        The first on each channel gets one that is connected to the kernel already: that saves two
        round trips of a kernel's first reply.
        """
        if self._is_closed:
            return None
        stream = self._spares.pop(local.channel, None) or self.attachment.open(local.channel)
        self._locals[stream] = local
        if local.channel == "control" and self.on_shutdown is not None:
            self._filters[stream] = Filter(self.on_shutdown)
        if self._is_held and local.channel == "control":
            local.hold(True)
        self._dial_soon(stream)
        return stream

    def local_closed(self, local: LocalEnd) -> None:
        """A Jupyter client has gone; what it sent before still goes to the kernel."""
        stream = local.stream
        if stream is None or self._locals.pop(stream, None) is None:
            return
        self.attachment.close(stream, self.now())

    def local_wrote(self, stream: Stream, data: bytes) -> None:
        """A Jupyter client has sent bytes."""
        filter = self._filters.get(stream)
        if filter is not None:
            data = filter.feed(data)
        ahead = self._ahead.get(stream)
        if ahead is not None:
            data = ahead.feed(data)
            if ahead.is_other:
                # It has sent no message yet; it connects again, to a stream that is not greeted.
                self.log.info("= a client on %s greets in another way", stream.channel)
                self._locals[stream].close()
                return
        self.attachment.write(stream, data, self.now())
        self._arm()

    def local_has_room(self, stream: Stream) -> None:
        """A Jupyter client takes more again."""
        self.attachment.deliver(stream, self.now())
        self._arm()

    def hold_control(self, held: bool) -> None:
        """Keep what clients send to the kernel's control channel from it, or let it go on."""
        self._is_held = held
        for stream, local in self._locals.items():
            if stream.channel == "control":
                local.hold(held)

    def watch_for_idle(self) -> Callable[[], bool]:
        """What says whether the kernel has been idle since now, as far as clients here know."""
        watches: list[IdleWatch] = []
        for stream, local in self._locals.items():
            if stream.channel == "iopub" and isinstance(local, LocalProtocol):
                local.watch = IdleWatch()
                watches.append(local.watch)
        return lambda: any(watch.seen for watch in watches)

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
        protocol = await self._dial(self.attachment.control)
        if protocol is None:
            return False
        # In the same round trips as the control carrier. Nothing of a client's is sent on them:
        # nobody has them before it is welcomed.
        for stream in self._open_spares():
            self._dial_once(stream)
        if not await within(timeout, protocol.welcomed):
            return False
        self._take(protocol)
        for stream in self._others:
            self._dial_soon(stream)
        return True

    def begin_first(self) -> FirstCarrier:
        """A carrier of all streams for the session of a launch, with which what it says first is
        to travel. See `take_first` and `move`."""
        self.cut()
        self.attachment.generation += 1
        nonce = secrets.token_hex(16)
        control = self.attachment.control
        protocol = CarrierProtocol(self, self.attachment, control, proof(self._token, nonce))
        first = FirstCarrier(protocol)
        self._say_hello(protocol, nonce)
        self.attachment.add(protocol.carrier, [control, *self._open_spares()])
        self.attachment.pump(protocol.carrier, self.now())
        return first

    async def take_first(self, first: FirstCarrier, timeout: float) -> bool:
        """Wait for the agent's welcome on the first carrier. Returns and raises as `connect`."""
        if not await within(timeout, first.protocol.welcomed):
            return False
        self._take(first.protocol)
        return True

    async def move(self, dialer: Dialer, timeout: float) -> bool:
        """Carry the streams through connections of `dialer`, and by the first carrier no more.

        Returns whether an agent answered there; raises as `connect` does. Then the first carrier
        goes on, unless all was `cut` meanwhile.
        """
        first = self._control_carrier
        if first is None:
            return False
        self._dialer = dialer
        for stream in self._others:
            self._dial_once(stream)
        protocol = await self._dial(self.attachment.control)
        if protocol is None or not await within(timeout, protocol.welcomed):
            return False
        if self._dialer is not dialer:
            return False
        self._control_carrier = protocol
        for stream in self.attachment.lose(first.carrier, self.now()):
            self._dial_soon(stream)
        return True

    def _open_spares(self) -> list[Stream]:
        """The spare streams that the agent has not welcomed yet, made where they are to be."""
        if not self._is_known and not self._early:
            self._early = {channel: self.attachment.open(channel) for channel in self._served}
        for stream in self._early.values():
            if self.greets and stream not in self._ahead:
                self._ahead[stream] = Ahead()
                self.attachment.write(stream, GREETING, self.now())
        return list(self._early.values())

    def _take(self, protocol: CarrierProtocol) -> None:
        """The agent has welcomed this attachment, on the control carrier `protocol`."""
        self._spares.update(self._early)
        self._early = {}
        self._is_known = True
        self._control_carrier = protocol
        self._backoff.reset()

    @property
    def _others(self) -> list[Stream]:
        """All streams but the control stream."""
        streams = self.attachment.streams.values()
        return [stream for stream in streams if stream is not self.attachment.control]

    @property
    def is_connected(self) -> bool:
        """Whether there is a control carrier, for all that is known here."""
        return self._control_carrier is not None

    def cut(self) -> None:
        """End all carriers; the streams wait for the next `connect`."""
        self._dialer = None
        self._control_carrier = None
        self.attachment.drop_carriers(self.now())
        if self._greeted is not None:
            self._greeted.abort()
            self._greeted = None
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
        self._early.clear()
        self.attachment = Attachment(secrets.token_hex(16), self, is_client=True)
        self._is_known = False

    def close(self) -> None:
        """End everything."""
        self._is_closed = True
        self.let_clients_go()
        self.cut()
        if self._timer is not None:
            self._timer.cancel()

    def let_clients_go(self) -> None:
        """Serve no local clients any more."""
        self._stop_listening()
        for local in list(self._locals.values()):
            local.close()

    # -- carriers --------------------------------------------------------------------------------

    def _dial_soon(self, stream: Stream, pause: float = 0.0) -> None:
        """Give a stream one more carrier, if it still wants one after `pause` seconds."""

        async def dial() -> None:
            await asyncio.sleep(pause)
            while self._is_open(stream) and self._wants_carrier(stream):
                if await self._dial(stream) is not None:
                    return
                await asyncio.sleep(self._backoff.pause())

        is_up = self._control_carrier is not None and self._dialer is not None
        if is_up and stream not in self._dials:
            dials = self._dials
            task = dials[stream] = self._loop.create_task(dial())
            task.add_done_callback(lambda _: dials.pop(stream, None))

    def _dial_once(self, stream: Stream) -> None:
        """Give a stream a carrier while the control carrier waits for its welcome, without which
        all is cut, or what was there before goes on."""
        dials = self._dials

        async def dial() -> None:
            await self._dial(stream)

        def done(_: object) -> None:
            dials.pop(stream, None)
            self._dial_soon(stream)  # where it has none, and the welcome has come

        task = dials[stream] = self._loop.create_task(dial())
        task.add_done_callback(done)

    def _is_open(self, stream: Stream) -> bool:
        return self.attachment.streams.get(stream.id) is stream

    def _wants_carrier(self, stream: Stream) -> bool:
        most = self._dialer.carriers if self._dialer is not None and stream.position >= MUCH else 1
        return stream.carriers < most

    async def _dial(self, stream: Stream) -> CarrierProtocol | None:
        """Give a stream a carrier; None where nothing takes the connection."""
        dialer = self._dialer
        if dialer is None:
            return None
        attachment = self.attachment
        generation = attachment.generation
        nonce = secrets.token_hex(16)
        protocol = CarrierProtocol(self, attachment, stream, proof(self._token, nonce))
        try:
            channel = forward_of(stream.channel)
            if stream.carriers:
                await dialer.dial_more(channel, lambda: protocol, stream.carriers)
            else:
                await dialer.dial(channel, lambda: protocol)
        except OSError as error:
            self.log.debug("! no carrier for %s: %s", stream.channel, error)
            return None
        if generation != attachment.generation or not self._is_open(stream):
            protocol.abort()  # all were cut, or this stream's client has gone, meanwhile
            return None
        self._say_hello(protocol, nonce)
        if stream is attachment.control:
            # It is carried when the welcome has come: only then is this known to be the agent. But
            # what the agent has to say may come along with that.
            protocol.carrier.name(stream)
            self._greeted = protocol
        else:
            attachment.add(protocol.carrier, [stream])
        attachment.pump(protocol.carrier, self.now())
        return protocol

    def _say_hello(self, protocol: CarrierProtocol, nonce: str) -> None:
        hello = {
            "version": 1,
            "token": self._token,
            "attachment": self.attachment.id,
            "generation": self.attachment.generation,
            "oldest": self.attachment.oldest,
            "known": self._is_known,
            "nonce": nonce,
            "rests": self.rests,
        }
        protocol.carrier.send(Frame(HELLO, payload=json.dumps(hello).encode("ascii")))

    def carrier_welcomed(self, protocol: CarrierProtocol) -> None:
        """The agent has taken a carrier."""
        if protocol is self._greeted:
            self._greeted = None
            protocol.attachment.add(protocol.carrier, [protocol.stream])

    def carrier_heard(self, protocol: CarrierProtocol, frames: list[Frame]) -> None:
        """Bytes came on a carrier."""
        self.owner.on_heard()
        protocol.attachment.receive(protocol.carrier, frames, self.now())
        self._arm()

    def carrier_has_room(self, protocol: CarrierProtocol) -> None:
        """A carrier takes more again."""
        protocol.attachment.make_room(protocol.carrier, self.now())

    def carrier_failed(self, protocol: CarrierProtocol, error: ProtocolError) -> None:
        """A carrier is aborted for what came on it."""
        if isinstance(error, Refused):
            self.log.debug("! a carrier ended: %s", error)
        else:
            self.violation = error
            self.log.warning("! a carrier ended: %s", error)

    def carrier_lost(self, protocol: CarrierProtocol) -> None:
        """A carrier's connection has ended."""
        streams = protocol.attachment.lose(protocol.carrier, self.now())
        if protocol.error is not None and protocol.stream is protocol.attachment.control:
            self.log.info("! the control carrier ended: %s", protocol.error)
        if protocol is self._control_carrier:
            self._control_carrier = None
            self.owner.on_broken()
        elif streams and protocol.attachment is self.attachment:
            pause = self._backoff.pause()
            for stream in streams:
                self._dial_soon(stream, pause)

    # -- what the attachment asks for: see `sshpyk.wire.attachment.Handler` ----------------------

    def deliver(self, stream: Stream, now: float) -> None:
        """A stream has changed: deliver what its local client takes, and its end."""
        if stream.is_ending and self._spares.get(stream.channel) is stream:
            # Nobody came: a ZMQ socket waits thirty seconds for a greeting.
            del self._spares[stream.channel]
            stream.close()
        local = self._locals.get(stream)
        if local is not None:
            local.deliver(now)
            local.limit_reading()
            if stream.peer_closed:
                local.close()
            elif self._wants_carrier(stream):
                self._dial_soon(stream)

    def message(self, message: Message) -> None:
        """A control message has come."""
        self.owner.on_message(message)

    def over(self, stream: Stream) -> None:
        """A stream is over and forgotten."""
        local = self._locals.pop(stream, None)
        if local is not None:
            local.close()

    def say(self, type: str, **fields: Any) -> None:
        """Send a control message; it arrives when the link is there."""
        self.attachment.send_message(type, self.now(), **fields)
        self._arm()

    @property
    def is_owed(self) -> bool:
        """Whether the agent has yet to say that it has got something."""
        return any(stream.unacknowledged for stream in self.attachment.streams.values())

    def ping(self) -> None:
        """Ask the agent for a sign of life."""
        self.attachment.ping(self.now())

    def _arm(self) -> None:
        """See to it that acknowledgements go out when they are due."""
        if self._timer is None:
            deadline = self.attachment.next_deadline(self.now())
            if deadline is not None:
                self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.attachment.tick(self.now())
        self._arm()

    def has(self, channel: str) -> bool:
        """Whether a Jupyter client is connected to this channel."""
        return any(stream.channel == channel for stream in self._locals)
