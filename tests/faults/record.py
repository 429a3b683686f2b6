"""What the kernel says it sent, against what a client got: a digest of every iopub message."""

from __future__ import annotations

import base64
import hashlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient

from tests.lab.kernels import PATIENCE

#: Bytes of one digest.
SIZE = 8

#: Run in the kernel: from here on it keeps a digest of every message that it sends on iopub, taken
#: where the message leaves for ZMQ. `_record()` is the lot.
RECORD = f"""
def _record():
    import base64, hashlib, threading
    from ipykernel.kernelapp import IPKernelApp
    thread = IPKernelApp.instance().iopub_thread
    send, record = thread._really_send, bytearray()
    def sending(message, *args, **kwargs):
        digest = hashlib.blake2b(digest_size={SIZE})
        for part in message:
            digest.update(part)
        record.extend(digest.digest())
        send(message, *args, **kwargs)
    thread._really_send = sending
    return lambda: base64.b64encode(bytes(record)).decode()
_record = _record()
"""


class Watched:
    """A Jupyter client that reads iopub in a thread of its own and keeps a digest of every message.

    `client` must be ready, and nobody else may read its iopub. Use as `with`; ask `check` in it.
    """

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.digests = bytearray()
        self.arrivals: list[float] = []  # time.monotonic() of each
        self.bytes = 0
        self.text: list[str] = []  # what was printed
        self.on_message: Callable[[dict[str, Any]], None] = lambda message: None
        self._idle: set[str] = set()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="watched", daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        self.run(RECORD)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def _read(self) -> None:
        socket = self.client.iopub_channel.socket
        assert socket is not None
        while not self._stop.is_set():
            if not socket.poll(100):
                continue
            frames = socket.recv_multipart(zmq.NOBLOCK)
            digest = hashlib.blake2b(digest_size=SIZE)
            for frame in frames:
                digest.update(frame)
            _, parts = self.client.session.feed_identities(frames)
            message = self.client.session.deserialize(parts, content=True)
            with self._changed:
                self.digests += digest.digest()
                self.arrivals.append(time.monotonic())
                self.bytes += sum(map(len, frames))
                if message["msg_type"] == "stream":
                    self.text.append(message["content"]["text"])
                elif message["content"].get("execution_state") == "idle":
                    self._idle.add(message["parent_header"].get("msg_id", ""))
                self._changed.notify_all()
            self.on_message(message)

    @property
    def lines(self) -> list[str]:
        """The lines printed so far."""
        return "".join(self.text).splitlines()

    def wait(self, condition: Callable[[], bool], timeout: float = 2 * PATIENCE) -> None:
        """Wait until `condition` holds; it is asked after each message."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"it ends with {self.text[-3:]}"

    def start(self, code: str, **kwargs: Any) -> str:
        """Have the kernel run `code`; the request's id."""
        id: str = self.client.execute(code, **kwargs)
        return id

    def finish(self, id: str, timeout: float = 2 * PATIENCE) -> dict[str, Any]:
        """The reply to a request, once everything that belongs to it is there."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                left = max(0.1, deadline - time.monotonic())
                reply: dict[str, Any] = self.client.get_shell_msg(timeout=left)
            except queue.Empty:
                raise AssertionError(f"no reply; it ends with {self.text[-3:]}") from None
            if reply["parent_header"].get("msg_id") == id:
                break
        self.wait(lambda: id in self._idle, timeout)
        return reply

    def run(self, code: str, timeout: float = 2 * PATIENCE, **kwargs: Any) -> dict[str, Any]:
        """Run `code` to its end; the reply's content, which says "ok"."""
        content: dict[str, Any] = self.finish(self.start(code, **kwargs), timeout)["content"]
        assert content["status"] == "ok", content
        return content

    def is_idle(self, id: str) -> bool:
        """Whether everything that belongs to a request is there."""
        return id in self._idle

    def check(self) -> int:
        """Every message that the kernel has sent has arrived, once and in order; their number."""
        reply = self.run("", user_expressions={"record": "_record()"})
        said = reply["user_expressions"]["record"]["data"]["text/plain"]
        sent = base64.b64decode(said.strip("'"))
        with self._changed:
            got = bytes(self.digests)
        first = _find(got, sent[:SIZE])
        compared = got[first : first + len(sent)]
        if compared != sent:
            count = sum(a == b for a, b in zip(_split(compared), _split(sent), strict=False))
            lost = set(_split(sent)) - set(_split(got))
            raise AssertionError(
                f"of {len(sent) // SIZE} messages {len(lost)} are missing, "
                f"{len(compared) // SIZE} came and {count} are in place"
            )
        twice = len(_split(got)) - len(set(_split(got)))
        assert not twice, f"{twice} messages came twice"
        return len(sent) // SIZE


def _split(digests: bytes) -> list[bytes]:
    return [digests[at : at + SIZE] for at in range(0, len(digests), SIZE)]


def _find(digests: bytes, one: bytes) -> int:
    return _split(digests).index(one) * SIZE
