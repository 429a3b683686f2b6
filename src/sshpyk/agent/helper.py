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
comm_msg    {"ask": n}                       on the era's comm: is anybody there? {"here": true}
comm_msg    {"pair": n}                      on the era's comm: send two back, as two messages
comm_msg    {"gather": seconds}              on the era's comm: what small ones wait for more
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
    from typing import Any, Deque, Dict, List, Optional, Set

#: The comm target.
TARGET = "sshpyk"

#: How the header of a comm's message is told from others'.
OURS = (b'"comm_open"', b'"comm_msg"', b'"comm_close"')

#: Bytes and messages on the way in one direction of one program. ZMQ throws away what exceeds 1,000
#: messages.
WINDOW = 4 * 1024 * 1024
MESSAGES = 96

#: Bytes of one message.
CHUNK = 512 * 1024

#: Seconds after which the server hears again on iopub that something happens here: what is on the
#: control channel is not activity to it.
ACTIVE_EVERY = 60.0

#: Bytes that are small, and seconds in which more may follow: the server writes each message as a
#: packet, and under Nagle's algorithm the second waits until the first was acknowledged, which is
#: a round trip, or 40 ms where a proxy is on the way. The client finds out how long that is here,
#: and says where it is less than these seconds.
SMALL = 16 * 1024
GATHER = 0.0007

#: Seconds that the first of them waits at most.
MOST_GATHER = 0.005

#: Bytes of a program's stderr that are kept.
KEPT_STDERR = 16 * 1024

#: What `waitid` says of a process that was stopped: Python 3.8 has no name for it.
CLD_STOPPED = 5

#: Seconds for a program to end when its input has, and then after SIGTERM.
GRACE = 1.0

#: Seconds that a timer runs at most.
DAY = 24 * 3600.0

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
    """A program, and its pipes. Only what is in threads is not on the helper's loop."""

    def __init__(self, helper: Helper, id: str, command: str) -> None:
        self._helper = helper
        self._id = id
        self._sent = Sent()
        self._received = Received()
        self._stderr = b""
        self._input: Deque[bytes] = deque()
        self._left = memoryview(b"")  # of the first of these
        self._is_over = False  # for the client
        self._watched: Set[Any] = set()
        self._process: Any = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        pipes: List[Any] = [self._process.stdin, self._process.stdout]
        self._stdin, self._stdout = pipes
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        if hasattr(os, "waitid"):
            threading.Thread(target=self._guard, daemon=True).start()
        self._watch(self._stdout, True)

    def _guard(self) -> None:
        """In a thread: kill it where it is stopped. A client that waits for output sends nothing,
        and would not find out; so it hears that it has ended, and begins another."""
        pid = self._process.pid
        try:
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if found is not None and found.si_code == CLD_STOPPED:
                os.killpg(pid, signal.SIGKILL)
        except OSError:
            pass  # it has ended, and somebody else has seen it

    def _watch(self, pipe: Any, wanted: bool) -> None:
        """Say whether a pipe is to be looked after when it is ready."""
        loop = self._helper.loop
        if wanted and pipe not in self._watched and not pipe.closed:
            self._watched.add(pipe)
            if pipe is self._stdout:
                loop.add_handler(pipe, self._read, loop.READ)
            else:
                loop.add_handler(pipe, self._write, loop.WRITE)
        elif not wanted and pipe in self._watched:
            self._watched.discard(pipe)
            loop.remove_handler(pipe)

    def take(self, data: Dict[str, Any], buffers: Any) -> None:
        """A message has come. Raises ValueError."""
        if "got" in data:
            self._sent.got(data["got"])
            self._watch(self._stdout, True)
        else:
            piece = bytes(buffers[0])
            self._received.receive(data["at"], len(piece))
            self._give(piece)

    def _give(self, piece: bytes) -> None:
        """Put bytes into its stdin, or none: its end."""
        self._input.append(piece)
        if len(self._input) == 1:
            self._left = memoryview(piece)
            self._write()

    def _write(self, *event: object) -> None:
        """What has come goes to stdin, as far as that takes it."""
        while self._input:
            try:
                if self._left and not self._stdin.closed:
                    self._left = self._left[os.write(self._stdin.fileno(), self._left) :]
                    if self._left:
                        continue
            except BlockingIOError:
                self._watch(self._stdin, True)
                return
            except OSError:
                pass  # it has ended, or takes no more
            size = len(self._input.popleft())
            self._left = memoryview(self._input[0] if self._input else b"")
            told = self._received.take(size)
            if not size:
                self._watch(self._stdin, False)
                self._stdin.close()
            elif told is not None and not self._is_over:
                self._helper.send(self._id, "comm_msg", {"got": told})
        self._watch(self._stdin, False)

    def _read(self, *event: object) -> None:
        """What it says goes to the client, as far as that may be sent."""
        size = CHUNK if self._is_over else self._sent.room()
        if not size:
            self._watch(self._stdout, False)
            return
        fd = self._stdout.fileno()
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return
        if not data:
            self._watch(self._stdout, False)
            self._stdout.close()
            threading.Thread(target=self._wait, daemon=True).start()
            return
        until = time.monotonic() + MOST_GATHER
        while len(data) < min(SMALL, size) and time.monotonic() < until:
            if not select.select([fd], [], [], self._helper.gather)[0]:
                break
            more = os.read(fd, size - len(data))
            if not more:
                break
            data += more
        if not self._is_over:
            self._helper.send(self._id, "comm_msg", {"at": self._sent.send(len(data))}, data)

    def _wait(self) -> None:
        """In a thread: see how it ends."""
        status = self._process.wait()
        self._listener.join(GRACE)  # somebody whom it has left may have it open
        self._helper.loop.add_callback(self._ended, status)

    def _ended(self, status: int) -> None:
        self._give(b"")
        if not self._is_over:
            text = self._stderr.decode("utf-8", "replace")
            self._helper.send(self._id, "comm_close", {"status": status, "stderr": text})
        self._helper.ended(self._id)

    def _listen(self) -> None:
        """In a thread: keep what it says on stderr."""
        stderr = self._process.stderr
        while True:
            data = os.read(stderr.fileno(), 65536)
            if not data:
                break
            self._stderr = (self._stderr + data)[-KEPT_STDERR:]
        stderr.close()

    def end(self) -> None:
        """End it: by the end of its input where that does, else by signals."""
        self._is_over = True
        self._watch(self._stdout, True)
        self._give(b"")
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
    """The programs that run by this kernel.

    All is on the thread and the loop of the kernel's control channel (`loop`, a tornado IOLoop).
    """

    def __init__(self, kernel: Any, connection_file: str) -> None:
        self.loop = kernel.control_stream.io_loop
        self._kernel = kernel
        self._connection_file = connection_file
        self._client: List[bytes] = []  # where its messages go
        self._programs: Dict[str, Program] = {}
        self._era = 0
        self._comm = ""  # of the era
        self.gather = GATHER
        self._lease = 0.0
        self._heard_at = time.monotonic()
        self._asked_at = float("-inf")
        self._asked = 0
        self._timer: Any = None
        self._active_at = float("-inf")
        # Before anything of ours can come, for nothing does until this request is answered.
        self.loop.add_callback(kernel.control_stream.on_recv, self._on_control, copy=False)

    def facts(self) -> Dict[str, Any]:
        """What a client must know."""
        return {"python": sys.executable, "connection_file": self._connection_file}

    def _on_control(self, frames: List[Any]) -> Any:
        """A message has come on the control channel; what is not of a comm is the kernel's."""
        identities, parts = self._kernel.session.feed_identities(frames, copy=False)
        if not any(name in bytes(parts[1]) for name in OURS):
            return self._kernel.dispatch_control(frames)
        try:
            self._take(identities, self._kernel.session.deserialize(parts, copy=False))
        except (ValueError, LookupError, TypeError):
            self._kernel.log.error("no message of sshpyk's", exc_info=True)
        return None

    def _take(self, identities: List[bytes], message: Dict[str, Any]) -> None:
        type = message["header"]["msg_type"]
        id, data = message["content"]["comm_id"], message["content"]["data"]
        self._heard_at = time.monotonic()
        if "lease" in data:
            self._lease = data["lease"]
            self._watch()
        if type == "comm_open":
            self._opened(identities, id, data)
        elif type == "comm_close":
            self._closed(id)
        elif "pair" in data:
            for number in range(2):
                self.send(id, "comm_msg", {"pair": data["pair"], "number": number})
        elif "gather" in data:
            self.gather = data["gather"]
        elif id in self._programs:
            try:
                self._programs[id].take(data, message["buffers"])
            except ValueError as error:
                self.send(id, "comm_close", {"status": -1, "stderr": str(error)})
                self._closed(id)

    def _opened(self, identities: List[bytes], id: str, data: Dict[str, Any]) -> None:
        if data["era"] > self._era:
            self._era = data["era"]
            self._comm = id
            for program in list(self._programs.values()):
                program.end()
            self._programs.clear()
            self._client = identities
            self.gather = GATHER
        if "command" in data and data["era"] == self._era:
            self._programs[id] = Program(self, id, data["command"])

    def _closed(self, id: str) -> None:
        program = self._programs.pop(id, None)
        if program is not None:
            program.end()

    def ended(self, id: str) -> None:
        """A program has ended."""
        self._programs.pop(id, None)

    def send(self, id: str, type: str, data: Dict[str, Any], *buffers: bytes) -> None:
        """Send a message of a comm."""
        content = {"comm_id": id, "data": data}
        self._kernel.session.send(
            self._kernel.control_stream,
            type,
            content,
            parent={},
            ident=self._client,
            buffers=list(buffers),
        )
        now = time.monotonic()
        if now >= self._active_at + ACTIVE_EVERY:
            self._active_at = now
            self._kernel.session.send(
                self._kernel.iopub_socket,
                "status",
                {"execution_state": "idle"},
                parent={},
                ident=b"status",
            )

    # -- the lease -------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See whether the client has gone for good."""
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
        now = time.monotonic()
        if self._asked_at >= self._heard_at:
            at = self._asked_at + PATIENCE
        else:
            at = self._heard_at + self._lease
            if at <= now:
                self._asked_at = now
                self._asked += 1  # a server that checks signatures takes none twice
                self.send(self._comm, "comm_msg", {"ask": self._asked})
                at = now + PATIENCE
        if at > now:
            self._timer = self.loop.call_later(min(at - now, DAY), self._watch)
            return
        for program in list(self._programs.values()):
            program.end()
        # By the control channel, of which this is the thread.
        threading.Thread(target=end_kernel, args=[self._connection_file], daemon=True).start()


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
