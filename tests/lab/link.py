"""A TCP link between two ports of this machine, with latency, a bandwidth cap and faults."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# What was read, and when it is due; nothing is the end.
_Queue = asyncio.Queue[tuple[float, bytes]]

_HELD = 256  # chunks under way in one direction: 160 MB/s at 100 ms
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send a reset


class Link:
    """Carries TCP connections from a port of its own, `port`, to `target_port`, both on 127.0.0.1.

    `delay` is in seconds, one way; `rate` in bytes per second and direction, shared by all
    connections, 0 for no limit; `chunk` the bytes read at most at once. The link works in a thread
    of its own from construction to `close`.

    Any thread may call the methods. What they do is in effect when they return.
    """

    def __init__(
        self, target_port: int, *, delay: float = 0.0, rate: float = 0.0, chunk: int = 64 * 1024
    ) -> None:
        self.target_port = target_port
        self.delay = delay
        self.rate = rate
        self._chunk = chunk
        self.connections = 0  # taken so far; those that were refused don't count
        self._refusing = False
        self._live: set[asyncio.Task[None]] = set()
        self._carried = [0, 0]  # bytes, up and down
        self._free = [0.0, 0.0]  # the loop's time at which the next byte may leave, up and down
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()  # cleared in a hole
        self._open.set()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut everything, stop listening, and leave no thread."""
        if self._thread.is_alive():
            self.refuse()
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def cut(self) -> int:
        """Reset every connection on both sides; returns how many there were."""
        return self._await(self._cut())

    def hole(self) -> None:
        """Carry nothing from now on, and say nothing about it: not even that a connection ended."""
        self._do(self._open.clear)

    def heal(self) -> None:
        """Carry again: first what came in meanwhile, none of which is lost."""
        self._do(self._open.set)

    def refuse(self) -> None:
        """Close new connections at once."""
        self._do(lambda: setattr(self, "_refusing", True))

    def accept(self) -> None:
        """Take new connections again."""
        self._do(lambda: setattr(self, "_refusing", False))

    def set_delay(self, seconds: float) -> None:
        """Delay by `seconds` one way what comes in from now on."""
        self._do(lambda: setattr(self, "delay", seconds))

    def set_rate(self, rate: float) -> None:
        """Let through `rate` bytes per second and direction from now on, 0 for no limit."""
        self._do(lambda: setattr(self, "rate", rate))

    @property
    def bytes_up(self) -> int:
        """How many bytes the target has been given, over all connections."""
        return self._carried[0]

    @property
    def bytes_down(self) -> int:
        """How many bytes the clients have been given, over all connections."""
        return self._carried[1]

    @property
    def live(self) -> int:
        """How many connections there are at this moment."""
        return len(self._live)

    # From other threads into the loop's.

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _do(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        self._await(act())

    # In the loop's thread.

    def _run(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
        self._loop.run_forever()
        self._loop.remove_reader(self._listener)
        self._loop.close()
        self._listener.close()

    def _accept(self) -> None:
        # Not `sock_accept`, which loses a connection where it is cancelled just then.
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # whoever it was has gone
        if self._refusing:
            client.close()
            return
        client.setblocking(False)
        self.connections += 1
        task = self._loop.create_task(self._carry(client))
        self._live.add(task)
        task.add_done_callback(functools.partial(self._ended, client))

    def _ended(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._live.discard(task)
        client.close()  # again, unless the task was cancelled before it began

    async def _cut(self) -> int:
        tasks = list(self._live)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def _carry(self, client: socket.socket) -> None:
        """One connection, from its handshake to its end. A reset on one side resets the other."""
        target = socket.socket()
        pumps: list[asyncio.Task[None]] = []
        whole = False
        try:
            target.setblocking(False)
            await asyncio.sleep(2 * self.delay)  # the handshake's round trip
            await self._open.wait()
            await self._loop.sock_connect(target, ("127.0.0.1", self.target_port))
            for source, sink, way in ((client, target, 0), (target, client, 1)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                queue: _Queue = asyncio.Queue(_HELD)
                pumps.append(self._loop.create_task(self._read(source, queue)))
                pumps.append(self._loop.create_task(self._write(queue, sink, way)))
            await asyncio.gather(*pumps)
            whole = True
        except OSError:
            await self._open.wait()
        finally:
            for pump in pumps:
                pump.cancel()
            ended = asyncio.gather(*pumps, return_exceptions=True)
            while not ended.done():  # a cut that comes now would else leave both ends open
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(ended)
            for end in (client, target):
                if not whole:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.close()

    async def _read(self, source: socket.socket, queue: _Queue) -> None:
        data = b"begin"
        while data:
            # Small pieces on a narrow link, that it be evenly slow.
            size = min(self._chunk, max(1024, int(self.rate / 50))) if self.rate else self._chunk
            data = await self._loop.sock_recv(source, size)
            await queue.put((self._loop.time() + self.delay, data))

    async def _write(self, queue: _Queue, sink: socket.socket, way: int) -> None:
        while True:
            due, data = await queue.get()
            if self.rate:
                start = max(self._free[way], self._loop.time())
                self._free[way] = start + len(data) / self.rate
                due = max(due, self._free[way])
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._open.wait()
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            view = memoryview(data)
            while view:
                try:
                    sent = sink.send(view)
                except BlockingIOError:
                    await self._writable(sink)
                    await self._open.wait()  # a hole may have begun meanwhile
                else:
                    view = view[sent:]
                    self._carried[way] += sent

    async def _writable(self, sink: socket.socket) -> None:
        ready = self._loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(sink, wake)
        try:
            await ready
        finally:
            self._loop.remove_writer(sink)
