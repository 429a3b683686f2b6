"""The agent: owns the kernel, carries its sockets to the clients, and does what they ask.

What is to happen when is decided by `sshpyk.agent.lifecycle`; this tells it what has happened, and
does what it says.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import os
import time

from ..common import processes
from ..wire import exits
from ..wire.frames import ProtocolError
from ..wire.quickjson import dumps
from . import lifecycle, records
from .attached import AttachedKernel
from .boot import Failed, answer, bytecode, describe_defect
from .client import Client
from .door import Door
from .evidence import Evidence
from .forking import ForkedKernel, Hold
from .kernel import Kernel, Log, Plan
from .lifecycle import Lifecycle
from .loop import READ, Loop
from .outputs import FILE, Outputs
from .printed import Printed
from .session import SessionConnection
from .spool import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from ..common.sockets import Socket
    from .kernel import Address, Kernel
    from .memory import Memory

#: Seconds between two checks whether the kernel's sockets are there while it starts up: at least so
#: many, and at least this share of the time that it has taken so far, because on a busy host the
#: checks must not make it slower still.
CHECK_EVERY, CHECK_SHARE = 0.01, 0.02

#: Seconds between two messages to a client of what the kernel does.
ACTIVITY_PAUSE = 0.1

#: Attachments at once: each of them is a program that somebody has started.
MAX_CLIENTS = 256


class Agent:
    """One kernel's agent.

    `attached` is the descriptor by which the launch's foreground process hears that it may go, and
    `confirm_within` how many seconds a client has to attach, None for ever.
    """

    def __init__(
        self,
        request: Dict[str, Any],
        kernel: Kernel,
        umask: int,
        attached: int,
        confirm_within: Optional[float],
    ) -> None:
        self.kernel = kernel
        self.id: str = request["id"]
        self.token: str = request["token"]
        self.directory = kernel.plan.directory
        self.sockets = kernel.plan.sockets
        self.session: str = request.get("session") or ""
        self.log = Log(os.path.join(self.directory, "agent.log"))
        self.loop = Loop(self._tick, lambda: self.log.line("! " + describe_defect()))
        self.limits = Limits(request["memory_limit"], request["spool_limit"], self.directory)
        # A client that vanishes half-way through a launch leaves nothing, however it vanishes.
        self.life = Lifecycle(
            self.loop.now(),
            persistent=request["persistent"],
            lease=request["lease"],
            confirm_within=confirm_within,
        )
        path = os.path.join(self.directory, FILE)
        limit = request.get("outputs_limit", 16 * 1024 * 1024)
        self.printed = Printed(self._tell_url, self.loop.hurry)
        self.outputs = Outputs(
            self.loop, path, limit, self._activity, self._on_output, self.kernel_doubted
        )
        self.clients: Dict[str, Client] = {}
        self.hold = Hold(self.loop, self.log)
        self.door = Door(self, self.loop, self.log, self.sockets, self.token)
        self._record_path = os.path.join(self.directory, records.RECORD)
        self._activity_at: Optional[float] = None
        self._parted = {"state": "detached", "since": time.time()}
        self._memory: Optional[Memory] = None  # while there is a kernel and somebody has asked
        self._request = request
        self._umask = umask
        self._attached = attached
        self._stdin = b""
        self._is_told_to_stop = False
        self._restarts: List[Tuple[Client, Dict[str, Any]]] = []  # "start" requests to be answered
        self._enders: List[Tuple[Client, int]] = []  # the numbers of the requests to end
        self._watch_kernel()
        self._wake_on_signals()
        self.door.listen("tcp" if request["streams"] == "tcp" else "unix")
        self.door.listen_for_status(self._tell_status)
        records.write(self._record_path, self._record())
        self.log.line(f"= launched kernel {kernel.plan.spec.name} as process {kernel.pid}")
        answer(
            listening=self.door.listening,
            host=processes.host_name(),
            boot_id=processes.boot_id(),
            place=processes.place(),
            bytecode=bytecode(),
            kernel=self._describe(),
            **(
                {"keys": records.keys(self._record())}
                if request["kernel"].get("connection_file")
                else {}
            ),
        )
        self._session: Optional[SessionConnection] = None
        if request.get("carrier"):
            self._session = SessionConnection(
                self.loop, self.door, request["carrier"], self._session_over
            )
        else:
            self.loop.watch(0, READ, self._on_stdin)

    def run(self) -> None:
        """Serve until the end."""
        try:
            self.loop.run()
        finally:
            if self.kernel.exited is None:
                self.kernel.signal(signal.SIGKILL)
            self.log.close()  # on NFS a directory with open files stays
            records.remove(self.sockets)
            records.remove(self.directory)

    def _tell_status(self, sock: Socket) -> None:
        with sock:
            sock.setblocking(False)
            try:
                sock.sendall(dumps(self.status()).encode("ascii"))
            except OSError:
                pass  # whoever asked has gone

    # -- the launch session ----------------------------------------------------------------------

    def _on_stdin(self, events: int) -> None:
        data = os.read(0, 4096)
        if not data:
            self._end("the launch was given up")
            self.loop.watch(0, 0, self._on_stdin)
            return
        *lines, self._stdin = (self._stdin + data).split(b"\n")
        for line in lines:
            if line in (b"tcp", b"unix"):
                self.door.listen(line.decode("ascii"))
                self._write_record()
                answer(listening=self.door.listening)
            elif line == b"attached":
                self._detach()

    def _detach(self) -> None:
        """The agent need not end with the session any more."""
        if self.life.is_detached:
            return
        self.life.is_detached = True
        if self._session is None:
            answer(attached=True)
            self.loop.watch(0, 0, self._on_stdin)
            self._leave_session()

    def _session_over(self) -> None:
        """The session carries nothing more."""
        if self.life.is_detached:
            try:
                answer(attached=True)  # others may keep the session's pipes open
            except OSError:
                pass  # it has ended already, or has no room
            self._leave_session()
        else:
            self._end("the launch was given up")

    def _leave_session(self) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        if self._attached >= 0:
            os.write(self._attached, b"1")
            os.close(self._attached)
            self._attached = -1

    # -- the kernel ------------------------------------------------------------------------------

    def _watch_kernel(self) -> None:
        kernel = self.kernel
        self._evidence = Evidence(kernel.pid)

        def watch(fd: int) -> None:
            def read(events: int) -> None:
                if not kernel.read(fd):
                    self._unwatch(fd)

            self.loop.watch(fd, READ, read)

        for pipe in kernel.pipes:
            watch(pipe)
        if kernel.report is not None:
            self.loop.watch(kernel.report.fileno(), READ, lambda events: self.loop.hurry())

    def _unwatch(self, fd: int) -> None:
        self.loop.watch(fd, 0, lambda events: None)

    def _wake_on_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)

        def stop(*_: object) -> None:
            self._is_told_to_stop = True

        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

        def wake(events: int) -> None:
            os.read(reader, 4096)  # its only purpose was to wake the loop
            self.loop.hurry()

        self.loop.watch(reader, READ, wake)

    @property
    def _waiting(self) -> int:
        """Bytes of output that clients have not got yet."""
        return int(self.limits.memory_used + self.limits.disk_used)

    def _describe(self) -> Dict[str, Any]:
        """What a client must know of the kernel."""
        kernel = self.kernel
        plan = kernel.plan
        return {
            "pid": kernel.pid,
            "bound": kernel.bound,
            "exited": kernel.exited,
            "name": plan.spec.name,
            "display_name": plan.spec.display_name,
            "language": plan.spec.language,
            "interrupt_mode": plan.spec.interrupt_mode,
            "cwd": plan.cwd,
            "home": records.home(),
            "curve": plan.curve,
            # What this agent can do, and one that was left by an older sshpyk can't.
            "ports": True,
            "memory": True,
        }

    def _record(self) -> Dict[str, Any]:
        """What those who look for this kernel on the host are told; not the kernel's secrets."""
        return {
            "id": self.id,
            "host": processes.host_name(),
            "boot_id": processes.boot_id(),
            "agent_pid": os.getpid(),
            "agent_start": processes.start_time(os.getpid()),
            "pid_namespace": processes.pid_namespace(),
            "place": processes.place(),
            "directory": self.directory,
            "sockets": self.sockets,
            "listening": self.door.listening,
            "token": self.token,
            "started_at": self.kernel.started_at,
            "persistent": self.life.persistent,
            "session": self.session,
            "kernel": self._describe(),
            "forked": self.kernel.report and processes.start_time(self.kernel.pid),
        }

    def _write_record(self) -> None:
        """Keep the record true; where the disk is full now, the one before has to do."""
        try:
            records.write(self._record_path, self._record())
        except OSError as error:
            self.log.line(f"! the record could not be written: {error}")

    def _kernel_exited(self, now: float) -> None:
        exited = dict(self.kernel.exited or {})
        exited["cause"] = self._evidence.cause(exited)
        self.kernel.exited = exited
        self.log.line(f"= kernel process {exited['pid']} ended: {exits.describe(exited)}")
        for pipe in self.kernel.pipes:
            self._unwatch(pipe)
        if self.kernel.report is not None:
            self._unwatch(self.kernel.report.fileno())
        self.kernel.close()
        self.outputs.forget_kernel()
        self.printed.forget()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        for client in self.clients.values():
            client.notify("exited", **exited)
        self.life.exited(now)

    def _launch(self) -> None:
        """Start the kernel again, as the last "start" request says."""
        waiting, self._restarts = self._restarts, []
        error: Dict[str, Any] = {}
        try:
            request = waiting[-1][1]["kernel"] or self._request["kernel"]
            kernel = self._make_kernel(request)
            kernel.confirm()
        except Failed as failed:
            error = failed.fields
        except (OSError, LookupError, TypeError, ValueError, AttributeError):
            # A request that makes no sense, or a host out of processes: the client shows this text.
            error = {"error": "bug", "traceback": describe_defect()}
        if error:
            self.life.failed(self.loop.now())
        else:
            self.kernel = kernel
            self._watch_kernel()
            name = kernel.plan.spec.name
            self.log.line(f"= started kernel {name} again as process {kernel.pid}")
            self.life.started()
        for client, message in waiting:
            if error:
                client.notify("failed", number=message["number"], error=error)
            else:
                client.notify("done", number=message["number"], result=self._describe())

    def _make_kernel(self, request: Dict[str, Any]) -> Kernel:
        if request.get("connection_file"):
            return AttachedKernel(request, self.directory, self.sockets)
        return ForkedKernel(Plan(request, self.directory, self.sockets), self._umask)

    def _signal(self, signum: int) -> None:
        if self.kernel.exited is None:
            self._evidence.sent.add(signum)
            self.kernel.signal(signum)

    # -- what clients and the door ask for: see `client.Owner` and `door.Owner` ------------------

    def client(self, id: str, *, known: bool) -> Client:
        """The client of an attachment, a new one where it is not known."""
        client = self.clients.get(id)
        if client is None:
            if known:
                raise ProtocolError("an attachment that is no more")
            if len(self.clients) >= MAX_CLIENTS:
                raise ProtocolError(f"more than {MAX_CLIENTS} attachments")
            outputs = None if self.kernel.plan.curve else self.outputs
            client = self.clients[id] = Client(id, self, self.loop, self.limits, outputs)
            self.life.attach(id, self.loop.now())
            self.log.line(f"= attachment {id[:8]} begins")
            # A kernel may be quicker than its client: bound, or dead, before this one was there.
            if self.kernel.exited is not None:
                client.notify("exited", **self.kernel.exited)
            elif self.kernel.bound:
                client.notify("bound", pid=self.kernel.pid)
        return client

    def address(self, channel: str) -> Optional[Address]:
        """Where the kernel takes connections, if it does."""
        return self.kernel.plan.addresses.get(channel) if self.kernel.bound else None

    def kernel_missing(self) -> None:
        """A client found that nothing listens where the kernel should."""
        if self.kernel.bound and self.kernel.exited is None:
            self.kernel.lose_sockets()
            self.life.missing()
            self.loop.hurry()

    def kernel_doubted(self) -> None:
        """The kernel has closed a connection."""
        self.kernel.doubt()
        self.loop.hurry()

    def request(self, client: Client, message: Dict[str, Any]) -> None:
        """Do what a control message asks for."""
        number = message.get("number")
        type = message["type"]
        result: Dict[str, Any] = {}
        if type == "start":
            self._restart(client, message)
            return
        if type == "end":
            self._enders.append((client, message["number"]))
            self._end("a client ended it")
            return
        if type == "signal":
            if not 0 < message["signum"] < signal.NSIG:
                raise ProtocolError(f"signal {message['signum']:.3g}")
            self._signal(message["signum"])
        elif type == "settings":
            if not 0 <= message["lease"] < float("inf"):
                raise ProtocolError("a lease that is no time")
            self.life.confirm()
            self._detach()  # where "attached" has not come yet
            self.life.set_terms(persistent=message["persistent"], lease=message["lease"])
            self.loop.hurry()
        elif type == "attached":
            self._detach()
        elif type == "leave":
            client.has_left = True
            self.life.leave(client.attachment.id)
        elif type == "watch":
            client.watches = True
            self._activity()
        elif type == "seeing":
            client.is_seen = message["seeing"]
            self.outputs.seen_by_person(client.is_seen, is_same=message["resumed"])
            self.loop.hurry()
        elif type == "seen":
            self.outputs.saved(message["message"])
        elif type == "urls":
            client.wants_urls = True
            for url in self.printed.urls.values():
                client.notify("url", url=url)
        elif type == "memory_wanted":
            client.wants_memory = True
            self._watch_memory()
            self._tell_memory(client)
        elif type == "state":
            self.life.confirm()
            result = dict(self._describe(), waiting=self._waiting)
        else:
            raise ProtocolError(f"a {type} message from the client")
        client.notify("done", number=number, result=result)

    def _restart(self, client: Client, message: Dict[str, Any]) -> None:
        try:
            self.life.restart()
        except lifecycle.Impossible:
            error = {"error": "bug", "traceback": f"the kernel ends: {self.life.why}"}
            client.notify("failed", number=message["number"], error=error)
            return
        self._restarts.append((client, message))
        self.loop.hurry()

    def _end(self, why: str) -> None:
        """Begin to end: the kernel first, then what it left, then the agent."""
        if not self.life.is_ending:
            self.log.line(f"= ending: {why}")
        self.life.end(why, self.loop.now())
        self.loop.hurry()

    def _activity(self) -> None:
        """What the kernel does has changed: tell it soon, and not each time."""
        if self._activity_at is None:
            self._activity_at = self.loop.now() + ACTIVITY_PAUSE

    def _on_output(self, content: bytes) -> None:
        self.printed.look_for(content, self.loop.now())

    def _tell_url(self, url: str) -> None:
        for client in self.clients.values():
            if client.wants_urls:
                client.notify("url", url=url)

    def _watch_memory(self) -> None:
        """Begin that, where somebody wants to know and there is a kernel whose process we see."""
        is_wanted = any(client.wants_memory for client in self.clients.values())
        if self._memory is None and is_wanted and self.kernel.bound and self.kernel.pid > 0:
            from .memory import Memory

            self._memory = Memory(self.loop, self._evidence, self._memory_changed)
            self._memory.look()

    def _memory_changed(self) -> None:
        for client in self.clients.values():
            if client.wants_memory:
                self._tell_memory(client)

    def _tell_memory(self, client: Client) -> None:
        client.notify("memory", short=self._memory.short if self._memory else None)

    def status(self) -> Dict[str, Any]:
        """How the kernel is, for those who list the kernels of this host."""
        now = self.loop.now()
        attached = sum(client.is_present(now) for client in self.clients.values())
        return {
            "attached": attached,
            "parted": None if attached else self._parted,
            "lease_left": None if attached else self.life.lease_left(now),
            "spooled": self._waiting,
            "busy": self.outputs.busy,
            "busy_since": self.outputs.since,
            "keeps_outputs": self.outputs.is_away,
            "paused": self.life.is_paused,
        }

    # -- time ------------------------------------------------------------------------------------

    def _tick(self, now: float) -> Optional[float]:
        deadlines: List[Optional[float]] = []
        if self._is_told_to_stop:
            self._is_told_to_stop = False
            is_down = self._evidence.is_shutting_down()
            self._end("the host is being shut down" if is_down else "it was told to stop (SIGTERM)")
        if self.kernel.exited is None and self.kernel.reap():
            self._kernel_exited(now)
        elif self.life.state == lifecycle.STARTING:
            if self.kernel.check_bound():
                self._kernel_bound()
            else:
                deadlines.append(now + max(CHECK_EVERY, CHECK_SHARE * (now - self.kernel.begun)))
        deadlines.append(self.kernel.next_look)
        deadlines += self.door.expire(now)
        for client in list(self.clients.values()):
            deadlines += client.tick(now)
            self._see(client, now)
        deadlines += self._tick_outputs(now)
        if self._memory is not None:
            deadlines.append(self._memory.tick(now))
        deadlines.append(self.printed.tick(now))
        deadlines.append(self.hold.tick(self.kernel, bool(self.outputs.busy), now))
        while self._act(now):
            pass
        deadlines.append(self.life.next_deadline())
        return min((d for d in deadlines if d is not None), default=None)

    def _kernel_bound(self) -> None:
        self.life.bound()
        self._evidence.look()  # its setup lines may have moved it
        self._watch_memory()
        for client in self.clients.values():
            client.notify("bound", pid=self.kernel.pid)
            client.connect_all()

    def _see(self, client: Client, now: float) -> None:
        id = client.attachment.id
        if self.life.see(id, now, is_connected=client.is_connected):
            state = "detached" if client.has_left else "lost"
            self._parted = {"state": state, "since": time.time()}
            self.log.line(f"= attachment {id[:8]} lost its last carrier")

    def _tick_outputs(self, now: float) -> List[Optional[float]]:
        present = [client for client in self.clients.values() if client.is_present(now)]
        seen = [client for client in present if client.is_seen]
        listeners = {(client.attachment.id, id) for client in seen for id in client.listening}
        # Not before there is need: a kernel welcomes the first subscriber only (`iopub_welcome`,
        # JEP 65), and that is to be the client. One that came for a port alone never listens.
        is_awaited = any(client.uses_kernel for client in present)
        is_needed = not is_awaited or any(client.watches for client in present)
        deadlines: List[Optional[float]] = []
        iopub = self.address("iopub")
        if is_needed and iopub is not None and not self.kernel.plan.curve:
            deadlines.append(self.outputs.subscribe(iopub, now))
        heard = max((client.attachment.heard_at for client in self.clients.values()), default=now)
        deadlines.append(self.outputs.listen(listeners, heard, now))
        deadlines += [client.lost_at for client in present]
        if self._activity_at is not None and now >= self._activity_at:
            self._activity_at = None
            if self._memory is not None and self.outputs.busy is False:
                self._memory.look()
            for client in present:
                if client.watches:
                    client.notify("activity", busy=self.outputs.busy, since=self.outputs.since)
        deadlines.append(self._activity_at)
        return deadlines

    def _act(self, now: float) -> bool:
        """Do what is to be done now; whether that was anything."""
        clients = self.clients.values()
        actions = self.life.tick(
            now,
            is_stuck=self.limits.full and all(client.is_behind for client in clients),
            has_caught_up=self.limits.disk_used == 0,
            has_unread=any(client.has_unread for client in clients),
        )
        for action, what in actions:
            self._do(action, what, now)
        return bool(actions)

    def _do(self, action: str, what: str, now: float) -> None:
        if action == lifecycle.RECORD:
            self._write_record()
        elif action == lifecycle.KILL:
            self._signal(signal.SIGKILL)
        elif action == lifecycle.TERMINATE:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
        elif action == lifecycle.PAUSE:
            self._signal(signal.SIGSTOP)
        elif action == lifecycle.CONTINUE:
            self._signal(signal.SIGCONT)
        elif action == lifecycle.LAUNCH:
            self._launch()
        elif action == lifecycle.CHECK_PLACE:
            if not any(map(os.path.lexists, (self.sockets, self._record_path))):
                # Nobody could ever come back.
                self._end("its directories are gone")
        elif action == lifecycle.DROP:
            self.log.line(f"= attachment {what[:8]} ends")
            self.clients.pop(what).close()
        elif action == lifecycle.TELL_PAUSED:
            self._tell(
                "the kernel is paused until the connection has caught up with its output, which "
                f"can't be kept any more: on {processes.host_name()} in {self.directory}, "
                f"{self.limits.trouble}"
            )
        elif action == lifecycle.TELL_GOES_ON:
            self._tell("the connection has caught up with the kernel's output, and it goes on")
        elif action == lifecycle.CLEAN_UP:
            self._leave_nothing()
            for client, number in self._enders:
                client.notify("done", number=number, result={})
        elif action == lifecycle.STOP:
            self.loop.running = False

    def _tell(self, text: str) -> None:
        """Tell the user something, through all clients and the log."""
        self.log.line("! " + text)
        for client in self.clients.values():
            client.notify("notice", text=text)

    def _leave_nothing(self) -> None:
        """The kernel has exited: so go the sockets and the files."""
        self.door.close()
        records.remove(self.sockets)
        # Not of a kernel whose launch was given up, which nobody ever had.
        is_told = self.life.is_confirmed and (self.life.persistent or not self._enders)
        if is_told:
            records.keep_files(self.id)
        records.remove(self.directory)
        if is_told:
            records.write_ended(self.id, self.life.why, self.kernel.exited)
