"""One websocket to a kernel's channels."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tornado.httpclient import HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from . import framing
from .rest import Server

#: Bytes of one message from a server. Tornado reads none that is longer.
LARGEST = 96 * 1024 * 1024

#: Bytes that may wait to be sent before clients are read no more.
MOST_WAITING = 16 * 1024 * 1024

#: Bytes of the longest message that servers take, unless they were told otherwise.
USUAL_LIMIT = 10 * 1024 * 1024

#: Pings whose answer may come yet, of which the times are kept.
MOST_PINGS = 8

#: How a server says that a message was too long for it.
TOO_BIG = 1009


class Channels:
    """A websocket that is open.

    `on_message` is called with channel and parts of each message, `on_heard` whenever anything has
    come, `on_closed` once, with why.
    """

    def __init__(
        self,
        on_message: Callable[[str, list[bytes]], None],
        on_heard: Callable[[], None],
        on_closed: Callable[[str], None],
        on_room: Callable[[], None],
    ) -> None:
        self._on_message = on_message
        self._on_heard = on_heard
        self._on_closed = on_closed
        self._on_room = on_room
        self._connection: WebSocketClientConnection | None = None
        self._is_legacy = False
        self._waiting = 0
        self._large = 0  # bytes of the last message that the server may have refused
        self._early: list[str | bytes | None] | None = []  # what came before `open` could return
        #: All that the server has written until then (`time.time()`) has come. When something last
        #: came says less: what waited on the way is older than its arrival.
        self.whole_until = time.time()
        self._pings: deque[tuple[bytes, float]] = deque(maxlen=MOST_PINGS)
        self._count = 0  # of pings

    async def open(self, server: Server, kernel: str, session: str, *, timeout: float) -> None:
        """Connect, in `timeout` seconds. Raises one of `trouble`; `LookupError` where the server
        has no such kernel, or gives it up meanwhile."""
        url = server.address.endpoint(
            "api", "kernels", kernel, "channels", query=f"session_id={session}", is_websocket=True
        )
        for is_last in (False, True):
            request = await server.prepare(url, timeout=timeout)
            login = server.logins
            connecting = websocket_connect(
                request,
                on_message_callback=self._take,
                max_message_size=LARGEST,
                subprotocols=[framing.V1],
            )
            future = asyncio.ensure_future(connecting)
            try:
                # Servers answer once the kernel does.
                connection = await server.while_there(kernel, asyncio.shield(future))
            except (asyncio.CancelledError, LookupError):
                future.add_done_callback(_close_late)
                raise
            except HTTPClientError as error:
                if error.code == 404:  # whose answer that is, and of what, shows by this
                    await server.ask("GET", "kernels", kernel)
                    raise server.not_jupyter("no websocket comes about (HTTP 404)") from None
                if error.code not in (401, 403) or is_last or not await server.log_in_again(login):
                    raise server.trouble_of(error) from None
            except WebSocketError as error:
                raise server.not_jupyter(f"no websocket comes about: {error}") from None
            except (OSError, StreamClosedError) as error:
                raise server.trouble_of(error) from None
            else:
                break
        self._connection = connection
        connection.on_pong = self._on_pong  # type: ignore[method-assign]  # it does nothing
        self._is_legacy = connection.selected_subprotocol != framing.V1
        self._watch(connection)
        early, self._early = self._early or [], None
        for data in early:
            self._take(data)

    def _watch(self, connection: WebSocketClientConnection) -> None:
        """Hear of each byte that comes, and acknowledge it at once.

        Servers write the small messages of one reply one after another under Nagle's algorithm:
        each waits until we have acknowledged the one before, which the kernel delays by 40 ms.
        Linux forgets the option after a while, so that it is set after each read.
        """
        protocol = connection.protocol
        stream: Any = None if protocol is None else protocol.stream
        if stream is None:
            return
        read = stream.read_from_fd
        quick = getattr(socket, "TCP_QUICKACK", None) if sys.platform == "linux" else None

        def heard(buffer: bytearray | memoryview) -> int | None:
            count: int | None = read(buffer)
            if count:
                self._on_heard()
                if quick is not None and stream.socket is not None:
                    with contextlib.suppress(OSError):
                        stream.socket.setsockopt(socket.IPPROTO_TCP, quick, 1)
            return count

        stream.read_from_fd = heard

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._connection is not None

    @property
    def is_full(self) -> bool:
        """Whether enough waits to be sent; `on_room` is called when that is over."""
        return self._waiting > MOST_WAITING

    def send(self, channel: str, parts: Sequence[bytes]) -> None:
        """Send a message."""
        encode = framing.encode_legacy if self._is_legacy else framing.encode
        data = encode(channel, parts)
        size = len(data)
        assert self._connection is not None
        try:
            writing = self._connection.write_message(data, binary=isinstance(data, bytes))
        except WebSocketClosedError:
            return  # of which `on_closed` tells
        self._waiting += size
        if size > USUAL_LIMIT:
            self._large = size

        def written(future: asyncio.Future[None]) -> None:
            if not future.cancelled():
                future.exception()  # the connection's end, of which `on_closed` tells
            was_full = self.is_full
            self._waiting -= size
            if was_full and not self.is_full:
                self._on_room()

        asyncio.ensure_future(writing).add_done_callback(written)

    def ping(self) -> None:
        """Have the server say that it is there, and with that how far all has come."""
        if self._connection is not None:
            self._count += 1
            data = str(self._count).encode()
            self._pings.append((data, time.time()))
            with contextlib.suppress(WebSocketClosedError):
                self._connection.ping(data)

    def _on_pong(self, data: bytes) -> None:
        """The server writes the answer to a ping behind all else."""
        if any(data == sent for sent, _ in self._pings):
            while self._pings:
                sent, at = self._pings.popleft()
                if sent == data:
                    self.whole_until = at
                    return

    def close(self) -> None:
        """Say goodbye; nothing is heard of it any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(1000)

    def abort(self, why: str) -> None:
        """Nothing comes any more: end it without waiting for the other side."""
        connection, self._connection = self._connection, None
        if connection is not None:
            protocol = connection.protocol
            stream: Any = None if protocol is None else protocol.stream
            if stream is not None and stream.socket is not None:
                # What waits in the kernel must not arrive later, beside what comes after.
                reset = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                stream.close()
            connection.close()
            self._on_closed(why)

    def _take(self, data: str | bytes | None) -> None:
        """Something came, or, None, the end."""
        if self._early is not None:
            self._early.append(data)
            return
        connection = self._connection
        if connection is None:
            return
        if data is None:
            self._connection = None
            code, reason = connection.close_code, connection.close_reason
            connection.close()
            said = f" (it said {code}{': ' + reason if reason else ''})" if code else ""
            why = f"the connection broke{said}"
            if code == TOO_BIG or self._large:
                why += f"; a message of {self._large} bytes may have been too long for the server"
            self._on_closed(why)
            return
        try:
            if self._is_legacy:
                channel, parts = framing.decode_legacy(data)
            elif isinstance(data, bytes):
                channel, parts = framing.decode(data)
            else:
                raise framing.FramingError("text where the subprotocol has bytes")
            self._on_message(channel, parts)
        except framing.FramingError as error:
            self.abort(f"the server sent {error}")


def _close_late(future: asyncio.Future[WebSocketClientConnection]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
