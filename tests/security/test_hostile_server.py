"""A Jupyter Server that means harm: it can neither crash the I/O thread nor speak for the kernel to
clients that have asked nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from sshpyk.server.channels import LARGEST
from sshpyk.server.framing import V1, decode, encode, to_bytes, to_object
from sshpyk.wire import liveness
from tests.lab.kernels import PATIENCE
from tests.server.servers import kernel_of, write_card

ID = "11111111-2222-3333-4444-555555555555"
EMPTY = [b"{}"] * 4

#: What it sends on one connection after another, before it behaves.
LIES: list[bytes | str] = [
    b"",
    b"\xff" * 64,
    struct.pack("<Q", 2**63),  # a count that no memory holds
    struct.pack("<7Q", 6, 56, 2**60, 2**60, 2**60, 2**60, 56),
    "text where bytes should be",
    encode("shell", [b"{}", b"[" * 100_000, b"{}", b"{}"]),
    encode("nowhere", EMPTY),
    encode("iopub", [b'{"msg_type": "status"}', b"{}", b"{}", b"no JSON"]),
]


PIECE = bytes(1 << 20)

#: Frames of which the first begins what the others go on with, without end: binary (opcode 2) and
#: continuations (0) with no bit that says that it is the last, and lengths of 64 bits (127).
FLOODS = (
    (b"\x02\x00", struct.pack("!BBQ", 0, 127, len(PIECE)) + PIECE),  # a message in fragments
    (struct.pack("!BBQ", 0x82, 127, 2 << 30), PIECE),  # of 2 GB
    (struct.pack("!BBQ", 0x82, 127, 2**64 - 1), PIECE),
)


class Hostile:
    """It listens on `port` until `close`; `heard` are the types of what came when it behaved."""

    def __init__(self) -> None:
        self.lies = list(LIES)
        self.floods: list[tuple[bytes, ...]] = []
        self.sent = 0  # bytes of floods
        self._tasks: set[asyncio.Task[None]] = set()
        self.behaves = threading.Event()
        self.heard: list[str] = []
        self.requests: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        hostile = self

        class Rest(RequestHandler):
            def prepare(self) -> None:
                hostile.requests.append(f"{self.request.method} {self.request.path}")

            def get(self, *path: str) -> None:
                self.finish(json.dumps({"id": ID, "name": "x"}))

            def post(self, *path: str) -> None:
                self.finish(json.dumps({"kernel": {"id": ID}}))

            def delete(self, *path: str) -> None:
                self.set_status(204)

        class Socket(WebSocketHandler):
            def select_subprotocol(self, subprotocols: list[str]) -> str | None:
                return V1

            def open(self, *args: str, **kwargs: str) -> None:
                if hostile.floods:
                    flooding = hostile._loop.create_task(self._flood(hostile.floods.pop(0)))
                    hostile._tasks.add(flooding)
                    flooding.add_done_callback(hostile._tasks.discard)
                elif hostile.lies:
                    lie = hostile.lies.pop(0)
                    self.write_message(lie, binary=isinstance(lie, bytes))
                else:
                    hostile.behaves.set()

            async def _flood(self, frames: tuple[bytes, ...]) -> None:
                """The first frame, and then the rest on and on, as far as they are taken."""
                stream: Any = self.ws_connection.stream  # type: ignore[union-attr]
                first, *others = frames
                with contextlib.suppress(StreamClosedError):
                    await stream.write(first)
                    while not stream.closed():
                        for frame in others:
                            await stream.write(frame)
                            hostile.sent += len(frame)

            def on_message(self, message: Any) -> None:
                _, parts = decode(message)
                header = to_object(parts[0])
                hostile.heard.append(header["msg_type"])
                for id in ("nobody's", [1], None, header["msg_id"]):
                    reply = {**header, "msg_type": "kernel_info_reply", "said_to": id}
                    self.write_message(
                        encode(
                            "shell",
                            [to_bytes(reply), to_bytes({"msg_id": id}), b"{}", b'{"status": "ok"}'],
                        ),
                        binary=True,
                    )

        app = Application([(r"/api/kernels/[^/]+/channels", Socket), (r"/api/(.*)", Rest)])
        self.server = HTTPServer(app)
        sockets = bind_sockets(0, "127.0.0.1")

        async def begin() -> None:
            self.server.add_sockets(sockets)
            self.port: int = sockets[0].getsockname()[1]
            self._ready.set()

        self._loop.create_task(begin())
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        self.server.stop()
        await self.server.close_all_connections()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setenv("SERVER_TOKEN", "s3cret")
    server = Hostile()
    yield server
    server.close()


def test_lies_end_connections_and_nothing_else(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness.Backoff, "pause", lambda self: 0.01)
    write_card("hostile", f"http://127.0.0.1:{hostile.port}/")
    manager = KernelManager(kernel_name="hostile")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        assert hostile.behaves.wait(PATIENCE), hostile.lies
        id = client.kernel_info()
        reply = client.get_shell_msg(timeout=PATIENCE)
        assert reply["header"]["said_to"] == id, "what nobody has asked for reaches nobody"
        assert not client.shell_channel.msg_ready()
        assert kernel_of(manager).exited is None
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.context.destroy(linger=100)
    assert f"DELETE /api/kernels/{ID}" in hostile.requests
    assert "shutdown_request" not in hostile.heard


def test_messages_without_end_fill_no_memory(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(liveness.Backoff, "pause", lambda self: 0.01)
    hostile.lies = []
    hostile.floods = list(FLOODS)
    write_card("hostile", f"http://127.0.0.1:{hostile.port}/")
    manager = KernelManager(kernel_name="hostile")
    manager.log.propagate = True
    before = peak()
    manager.start_kernel()
    try:
        assert hostile.behaves.wait(PATIENCE), hostile.floods
        # What it sends is in this process's memory too, and in sockets: each is a few MB.
        assert peak() - before < 2 * LARGEST
        assert hostile.sent > LARGEST // 2
        assert kernel_of(manager).exited is None
        assert caplog.text.count("reconnecting") == len(FLOODS)
    finally:
        manager.shutdown_kernel()
        manager.context.destroy(linger=100)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
