"""What runs in a helper kernel on a Jupyter Server: programs of its user's there, over comms.

The source of this file is what one silent request executes there (`sshpyk.server.helper`), so it
imports nothing of ours. The first comm that a client opens says which `era` it is: all that began
in an earlier one is ended, for its websocket is no more. Each comm after that is a program:

=========== ================================ =========================================
message     data                             meaning
=========== ================================ =========================================
comm_open   {"era": n, "lease": seconds}     the era begins
comm_open   {"era": n, "command": text}      a program begins: /bin/sh -c
comm_msg    {"at": position}, one buffer     bytes of its stdin; of its stdout, from here
comm_msg    {"got": position}                so much was taken: the other side may send more
comm_msg    {"ask": true}                    on the era's comm: is anybody there? {"here": true}
comm_close  {}                               end it
comm_close  {"status": n, "stderr": text}    from here: it has ended
=========== ================================ =========================================

Positions count the bytes of one direction. ZMQ and Jupyter Server throw messages away where too
many are on the way, so each side sends no more than `WINDOW` bytes and `MESSAGES` messages beyond
what the other has taken; a position that is not the next one ends the program.

Nothing is sent while nothing happens, so whether the client is there is asked for only when nothing
was heard of it for its lease. Then the helper has the server end it: the server would start a
kernel again that just ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Optional

#: The comm target, which is also how its messages are told from others.
TARGET = "sshpyk"

#: Bytes and messages on the way in one direction of one program. With each message to a kernel it
#: publishes "busy" and "idle"; ZMQ throws away what exceeds 1,000.
WINDOW = 4 * 1024 * 1024
MESSAGES = 96

#: Bytes of one message.
CHUNK = 512 * 1024

#: Messages after which the server hears "idle": by that it begins anew to count them, and it throws
#: away what exceeds 1,000 a second.
IDLE_EVERY = 200

#: Bytes that are small, and seconds in which more may follow: the server writes each message as a
#: packet, and under Nagle's algorithm the second waits until the first was acknowledged, which is
#: a round trip, or 40 ms where a proxy is on the way.
SMALL = 16 * 1024
GATHER = 0.0007

#: Bytes of a program's stderr that are kept.
KEPT_STDERR = 16 * 1024

#: Seconds for a program to end when its input has, and then after SIGTERM.
GRACE = 1.0

#: Seconds for the client to say that it is there.
PATIENCE = 60.0


class Sent:
    """One direction of a program, for who sends: how far that went, and how far it was taken."""

    def __init__(self) -> None:
        self.position = 0
        self.taken = 0
        self._ends: Deque[int] = deque()  # of the messages that are on the way

    def room(self) -> int:
        """How many bytes may be sent in the next message."""
        if len(self._ends) >= MESSAGES:
            return 0
        return min(CHUNK, WINDOW - (self.position - self.taken))

    def send(self, size: int) -> int:
        """So many bytes go; the position of the first."""
        at = self.position
        self.position += size
        self._ends.append(self.position)
        return at

    def got(self, position: object) -> None:
        """The other side has taken all up to `position`. Raises ValueError where it can't have."""
        if type(position) is not int or not self.taken <= position <= self.position:
            raise ValueError("bytes taken that were not sent")
        self.taken = position
        while self._ends and self._ends[0] <= position:
            self._ends.popleft()


class Received:
    """The same for who receives."""

    def __init__(self) -> None:
        self.position = 0
        self._taken = 0
        self._told = 0
        self._messages = 0  # that were taken since

    def receive(self, at: object, size: int) -> None:
        """So many bytes came. Raises ValueError where something is missing before them, or they
        are more than the other side may send."""
        if type(at) is not int or at != self.position:
            raise ValueError("a message that is not the next one")
        self.position += size
        if self.position - self._told > WINDOW:
            raise ValueError("more bytes than were allowed")

    def take(self, size: int) -> Optional[int]:
        """A message of so many bytes is delivered; what the other side is to be told now."""
        self._taken += size
        self._messages += 1
        if self._messages < MESSAGES // 4 and self._taken - self._told < WINDOW // 4:
            return None
        self._told = self._taken
        self._messages = 0
        return self._told


class Program:
    """A program, and its pipes' threads."""

    def __init__(self, helper: Helper, id: str, command: str) -> None:
        self._helper = helper
        self._id = id
        self._sent = Sent()
        self._received = Received()
        self._room = threading.Condition()
        self._stderr = b""
        self._input: Deque[Optional[bytes]] = deque()  # for stdin, and None: its end
        self._has_input = threading.Semaphore(0)
        self._is_over = False
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._read_errors, daemon=True)
        for thread in (
            self._listener,
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._write, daemon=True),
        ):
            thread.start()

    def take(self, data: Dict[str, Any], buffers: Any) -> None:
        """A message has come, on the kernel's thread. Raises ValueError."""
        if "got" in data:
            with self._room:
                self._sent.got(data["got"])
                self._room.notify()
        else:
            piece = bytes(buffers[0])
            self._received.receive(data["at"], len(piece))
            self._give(piece)

    def _give(self, piece: Optional[bytes]) -> None:
        self._input.append(piece)
        self._has_input.release()

    def _write(self) -> None:
        """In a thread: what comes goes to stdin."""
        stdin: Any = self._process.stdin
        while True:
            self._has_input.acquire()
            piece = self._input.popleft()
            if piece is None:
                break
            left = memoryview(piece)
            try:
                while left:
                    left = left[os.write(stdin.fileno(), left) :]
            except OSError:
                pass  # it has ended, or takes no more
            told = self._received.take(len(piece))
            if told is not None:
                self._helper.send(self._id, "comm_msg", {"got": told})
        stdin.close()

    def _read(self) -> None:
        """In a thread: its stdout goes to the client, then its end."""
        stdout: Any = self._process.stdout
        while True:
            with self._room:
                while not self._sent.room() and not self._is_over:
                    self._room.wait()
                size = self._sent.room() or CHUNK
            data = os.read(stdout.fileno(), size)
            if not data:
                break
            while len(data) < min(SMALL, size) and select.select([stdout], [], [], GATHER)[0]:
                more = os.read(stdout.fileno(), size - len(data))
                if not more:
                    break
                data += more
            if not self._is_over:
                with self._room:
                    at = self._sent.send(len(data))
                self._helper.send(self._id, "comm_msg", {"at": at}, data)
        stdout.close()
        status = self._process.wait()
        self._listener.join(GRACE)  # somebody whom it has left may have it open
        text = self._stderr.decode("utf-8", "replace")
        self._give(None)
        if not self._is_over:
            self._helper.send(self._id, "comm_close", {"status": status, "stderr": text})
        self._helper.ended(self._id)

    def _read_errors(self) -> None:
        stderr: Any = self._process.stderr
        while True:
            data = os.read(stderr.fileno(), 65536)
            if not data:
                break
            self._stderr = (self._stderr + data)[-KEPT_STDERR:]
        stderr.close()

    def end(self) -> None:
        """End it: by the end of its input where that does, else by signals."""
        with self._room:
            self._is_over = True
            self._room.notify()
        self._give(None)
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(GRACE)
                return
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(self._process.pid, signum)
            except OSError:
                pass  # it has ended just now


class Helper:
    """The programs that run by this kernel."""

    def __init__(self, kernel: Any, connection_file: str) -> None:
        self._kernel = kernel
        self._connection_file = connection_file
        self._programs: Dict[str, Program] = {}
        self._era = 0
        self._comm = ""  # of the era
        self._lease = 0.0
        self._heard = threading.Condition()
        self._heard_at = time.monotonic()
        self._count = 0  # of messages
        quieten(kernel)
        kernel.comm_manager.register_target(TARGET, self._opened)
        threading.Thread(target=self._watch, daemon=True).start()

    def facts(self) -> Dict[str, Any]:
        """What a client must know."""
        return {"python": sys.executable, "connection_file": self._connection_file}

    def _opened(self, comm: Any, message: Dict[str, Any]) -> None:
        data = message["content"]["data"]
        id = comm.comm_id
        if data["era"] > self._era:
            self._era = data["era"]
            self._comm = id
            for program in list(self._programs.values()):
                program.end()
            self._programs.clear()
        self._hear(data.get("lease"))
        comm.on_msg(lambda message: self._take(id, message))
        comm.on_close(lambda message: self._closed(id))
        if "command" in data and data["era"] == self._era:
            self._programs[id] = Program(self, id, data["command"])

    def _take(self, id: str, message: Dict[str, Any]) -> None:
        data = message["content"]["data"]
        self._hear(data.get("lease"))
        program = self._programs.get(id)
        if program is not None:
            try:
                program.take(data, message["buffers"])
            except ValueError as error:
                self.send(id, "comm_close", {"status": -1, "stderr": str(error)})
                self._closed(id)

    def _closed(self, id: str) -> None:
        program = self._programs.pop(id, None)
        if program is not None:
            program.end()

    def ended(self, id: str) -> None:
        """A program has ended."""
        self._programs.pop(id, None)
        self._kernel.comm_manager.comms.pop(id, None)

    def send(self, id: str, type: str, data: Dict[str, Any], *buffers: bytes) -> None:
        """Send a message of a comm, from any thread."""
        self._publish(type, {"comm_id": id, "data": data}, list(buffers))
        self._count += 1
        if self._count % IDLE_EVERY == 0:
            self._publish("status", {"execution_state": "idle"}, [])

    def _publish(self, type: str, content: Dict[str, Any], buffers: List[bytes]) -> None:
        self._kernel.session.send(
            self._kernel.iopub_socket,
            type,
            content,
            parent={},
            ident=b"comm",
            buffers=buffers,
        )

    # -- the lease -------------------------------------------------------------------------------

    def _hear(self, lease: Optional[float]) -> None:
        with self._heard:
            self._heard_at = time.monotonic()
            if lease is not None:
                self._lease = lease
            self._heard.notify()

    def _watch(self) -> None:
        """In a thread: see whether the client has gone for good."""
        asked_at: Optional[float] = None
        with self._heard:
            while True:
                if asked_at is not None and self._heard_at > asked_at:
                    asked_at = None
                if asked_at is not None:
                    left = asked_at + PATIENCE - time.monotonic()
                else:
                    left = self._heard_at + self._lease - time.monotonic()
                if not self._comm:
                    self._heard.wait()
                elif left > 0:
                    self._heard.wait(min(left, threading.TIMEOUT_MAX))
                elif asked_at is None:
                    asked_at = time.monotonic()
                    self.send(self._comm, "comm_msg", {"ask": True})
                else:
                    break
        for program in list(self._programs.values()):
            program.end()
        end_kernel(self._connection_file)


def quieten(kernel: Any) -> None:
    """Have the kernel publish no "busy" and "idle" around the messages of comms: they would be two
    thirds of all messages, and what they are small packets for is said at `GATHER`."""
    publish = getattr(kernel, "_publish_status", None)
    if publish is None:
        return

    def publish_others(status: str, *args: Any, **kwargs: Any) -> None:
        parent = kernel.get_parent(*args[:1]) or {}
        if not str(parent.get("header", {}).get("msg_type")).startswith("comm_"):
            publish(status, *args, **kwargs)

    kernel._publish_status = publish_others


def end_kernel(connection_file: str) -> None:
    """Have the server end this kernel, as one of its user's programs may: its address and token
    are in the user's own runtime directory, or in the environment that a JupyterHub gives."""
    directory, name = os.path.split(connection_file)
    id = name[len("kernel-") : -len(".json")]
    for file in sorted(os.listdir(directory)):
        if not (file.startswith(("jpserver-", "nbserver-")) and file.endswith(".json")):
            continue
        try:
            with open(os.path.join(directory, file), encoding="utf-8") as opened:
                server = json.load(opened)
            token = server.get("token") or os.environ.get("JUPYTERHUB_API_TOKEN", "")
            # Without a token, a value of ours in both places is what is asked for.
            headers = {"Cookie": "_xsrf=sshpyk", "X-XSRFToken": "sshpyk"}
            if token:
                headers = {"Authorization": "token " + token}
            url = server["url"] + "api/kernels/" + id
            request = urllib.request.Request(
                url, headers=headers, method="DELETE"
            )  # the server's own file says http
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            direct.open(request, timeout=PATIENCE).close()
        except (OSError, ValueError, LookupError):
            continue  # it is not this one's, or has gone


def main(kernel: Any) -> Helper:
    """Begin, in the kernel `kernel`."""
    return Helper(kernel, os.path.abspath(kernel.parent.abs_connection_file))
