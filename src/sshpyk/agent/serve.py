"""The agent: owns the kernel, carries its sockets to the clients, and does what they ask.

States of a kernel's life, as the clients see them: starting → bound → exited, and by "start" from
exited (or any) to starting again. The agent ends when a client says "end", when its lease has run
out with no client in sight, or when the kernel has exited and nobody is attached.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import os
import time

from ..common import processes
from ..wire.channels import AGENT
from ..wire.frames import ProtocolError
from ..wire.quickjson import dumps
from . import records
from .boot import Failed, answer, bytecode, describe_defect
from .client import LOST_AFTER
from .door import Door
from .kernel import Kernel, Log, Plan
from .launch import CONFIRM_WITHIN
from .loop import READ, Loop
from .outputs import FILE, Outputs
from .spool import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from ..common.sockets import Socket
    from .client import Client
    from .connections import CarrierConnection

#: Seconds between looks for the kernel's sockets while it starts up, at least, and as a share of
#: the time that it has taken so far: on a busy host the looks must not make it slower still.
LOOK, LOOK_SHARE = 0.01, 0.02

#: Seconds from SIGTERM to SIGKILL when the agent ends its kernel.
GRACE = 2.0

#: Seconds that the last messages have to reach the client before the agent goes.
FAREWELL = 3.0

#: Seconds between looks, while nobody is attached, whether anybody could be.
LOOK_FOR_PLACE = 10.0

#: Seconds between two words to a client of what the kernel does.
ACTIVITY_PAUSE = 0.1


class Agent:
    """One kernel's agent."""

    def __init__(self, request: Dict[str, Any], kernel: Kernel, umask: int, attached: int) -> None:
        self.kernel = kernel
        self.id: str = request["id"]
        self.token: str = request["token"]
        self.persistent: bool = request["persistent"]
        self.lease: float = request["lease"]
        self.directory = kernel.plan.directory
        self.sockets = kernel.plan.sockets
        self.log = Log(os.path.join(self.directory, "agent.log"))
        self._record_path = os.path.join(self.directory, records.RECORD)
        self.limits = Limits(request["memory_limit"], request["spool_limit"], self.directory)
        self.loop = Loop(self._tick, lambda: self.log.line("! " + describe_defect()))
        self.clients: Dict[str, Client] = {}
        self.session: str = request.get("session") or ""
        path = os.path.join(self.directory, FILE)
        limit = request.get("outputs_limit", 16 * 1024 * 1024)
        self.outputs = Outputs(self.loop, path, limit, self._activity)
        self._activity_at: Optional[float] = None
        self._look_at = 0.0
        self._parted = {"state": "detached", "since": time.time()}
        self._request = request
        self._umask = umask
        self._attached = attached
        self.door = Door(self)
        self._restart: Optional[Dict[str, Any]] = None  # the "start" that waits for an exit
        self._ending: Optional[str] = None  # why, once it ends
        self._kill_at: Optional[float] = None
        # A client that vanishes half-way through a launch leaves nothing, however it vanishes.
        within = request.get("launch_timeout")
        self._confirm_by = None if within is None else self.loop.now() + within + CONFIRM_WITHIN
        self._gone_at: Optional[float] = None
        self._enders: List[Any] = []  # (client, number) of the requests to end
        self._told_full = False
        self._is_paused = False
        self._watch_kernel()
        self._wake_on_signals()
        self.door.listen("tcp" if request["streams"] == "tcp" else "unix")
        self.door.listen_for_status(self._tell_status)
        self.loop.watch(0, READ, self._on_stdin)
        self._stdin = b""
        records.write(self._record_path, self._record())
        self.log.line(f"= launched kernel {kernel.plan.spec.name} as process {kernel.pid}")
        answer(
            listening=self.door.listening,
            host=processes.host_name(),
            boot_id=processes.boot_id(),
            bytecode=bytecode(),
            kernel=self._describe(),
        )

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

    # -- carriers --------------------------------------------------------------------------------

    def carrier_closed(self, connection: CarrierConnection) -> None:
        """A carrier has gone."""
        self.door.forget(connection)
        client = connection.client
        connection.carrier.lost()
        if client is None or connection not in client.carriers:
            return
        client.carriers.discard(connection)
        if not client.carriers:
            self.loop.hurry()
            client.silent_since = self.loop.now()
            self._parted = {
                "state": "detached" if client.has_left else "lost",
                "since": time.time(),
            }
            self.log.line(f"= attachment {client.attachment.id[:8]} lost its last carrier")

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
            self.end("the launch was given up")
            self.loop.watch(0, 0, self._on_stdin)
            return
        *lines, self._stdin = (self._stdin + data).split(b"\n")
        for line in lines:
            if line == b"tcp":
                self.door.listen("tcp")
                self._write_record()
                answer(listening=self.door.listening)
            elif line == b"attached":
                self._detach()

    def _detach(self) -> None:
        answer(attached=True)
        self.loop.watch(0, 0, self._on_stdin)
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

        def watch(fd: int) -> None:
            def read(events: int) -> None:
                if not kernel.read(fd):
                    self._unwatch(fd)

            self.loop.watch(fd, READ, read)

        watch(kernel.output)
        watch(kernel.errors)

    def _unwatch(self, fd: int) -> None:
        self.loop.watch(fd, 0, lambda events: None)

    def _wake_on_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.end("it was told to stop (SIGTERM)"))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

        def wake(events: int) -> None:
            os.read(reader, 4096)  # that it woke us is all it is for
            self.loop.hurry()

        self.loop.watch(reader, READ, wake)

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
            "directory": self.directory,
            "sockets": self.sockets,
            "listening": self.door.listening,
            "token": self.token,
            "started_at": self.kernel.started_at,
            "persistent": self.persistent,
            "session": self.session,
            "kernel": self._describe(),
        }

    def _write_record(self) -> None:
        """Keep the record true; where the disk is full now, the one before has to do."""
        try:
            records.write(self._record_path, self._record())
        except OSError as error:
            self.log.line(f"! the record could not be written: {error}")

    def _kernel_exited(self) -> None:
        exited = dict(self.kernel.exited or {})
        self.log.line(f"= kernel process {exited['pid']} exited: {exited}")
        self._unwatch(self.kernel.output)
        self._unwatch(self.kernel.errors)
        self.kernel.close()
        self.outputs.forget_kernel()
        for client in self.clients.values():
            client.notify("exited", **exited)
        if self._restart is not None:
            self._start(self._restart)
        elif not self.clients and self._ending is None and self._attached < 0:
            self.end("the kernel exited while nobody was attached")
        else:
            self._write_record()

    def _start(self, restart: Dict[str, Any]) -> None:
        """Start the kernel again, as a "start" request says."""
        client, message = restart["client"], restart["message"]
        self._restart = None
        try:
            request = message["kernel"] or self._request["kernel"]
            plan = Plan(request, self.directory, self.sockets)
            kernel = Kernel(plan, self._umask)
            kernel.confirm()
        except Failed as failed:
            client.notify("failed", number=message["number"], error=failed.fields)
            return
        except (OSError, LookupError, TypeError, ValueError, AttributeError):
            # A request that is none, or a host out of processes: the client shows this text.
            error = {"error": "bug", "traceback": describe_defect()}
            client.notify("failed", number=message["number"], error=error)
            return
        self.kernel = kernel
        self._is_paused = False
        self._watch_kernel()
        self._write_record()
        self.log.line(f"= started kernel {plan.spec.name} again as process {kernel.pid}")
        client.notify("done", number=message["number"], result=self._describe())

    # -- requests --------------------------------------------------------------------------------

    def handle(self, client: Client, message: Dict[str, Any]) -> None:
        """Do what a control message asks for."""
        number = message.get("number")
        type = message["type"]
        result: Dict[str, Any] = {}
        if type == "start":
            self._restart = {"client": client, "message": message}
            if self.kernel.exited is not None:
                self._start(self._restart)
            else:
                self.kernel.signal(signal.SIGKILL)
            return
        if type == "end":
            self._enders.append((client, number))
            self.end("a client ended it")
            return
        if type == "signal":
            if not 0 < message["signum"] < signal.NSIG:
                raise ProtocolError(f"signal {message['signum']:.3g}")
            if self.kernel.exited is None:
                self.kernel.signal(message["signum"])
        elif type == "settings":
            self._confirm_by = None
            if not 0 <= message["lease"] < float("inf"):
                raise ProtocolError("a lease that is no time")
            self.persistent, self.lease = message["persistent"], message["lease"]
            self._write_record()
        elif type == "leave":
            client.has_left = True
        elif type == "watch":
            client.watches = True
            self._activity()
        elif type == "state":
            self._confirm_by = None  # somebody has attached
            result = self._describe()
        else:
            raise ProtocolError(f"a {type} message from the client")
        client.notify("done", number=number, result=result)

    def _tick_spool(self) -> None:
        """Where nothing more can be kept, and nobody takes it, pause the kernel: read on without
        keeping and output is lost, read no more and ZMQ in the kernel throws it away."""
        limits = self.limits
        pause = limits.full and self._ending is None and self.kernel.exited is None
        pause = pause and all(client.is_behind for client in self.clients.values())
        if pause != self._is_paused:
            self._pause(pause)
        if pause and not self._told_full:
            self._told_full = True
            self._tell(
                "the kernel is paused until the connection has caught up with its output, which "
                f"can't be kept any more: on {processes.host_name()} in {self.directory}, "
                f"{limits.trouble}"
            )
        elif self._told_full and limits.disk_used == 0:
            self._told_full = False
            self._tell("the connection has caught up with the kernel's output, and it goes on")

    def _pause(self, paused: bool) -> None:
        self._is_paused = paused
        if self.kernel.exited is None:
            self.kernel.signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def _tell(self, text: str) -> None:
        """Say something to the user, through all clients and the log."""
        self.log.line("! " + text)
        for client in self.clients.values():
            client.notify("notice", text=text)

    # -- time ------------------------------------------------------------------------------------

    def _tick(self, now: float) -> Optional[float]:
        deadlines: List[Optional[float]] = []
        kernel = self.kernel
        if kernel.exited is None and kernel.reap():
            self._kernel_exited()
        elif kernel.exited is None and not kernel.bound:
            if kernel.check_bound():
                self._kernel_bound(now)
            else:
                deadlines.append(now + max(LOOK, LOOK_SHARE * (now - kernel.begun)))
        deadlines += self.door.expire(now)
        for client in list(self.clients.values()):
            self._tick_client(client, now, deadlines)
        self._tick_spool()
        self._tick_orphan(now, deadlines)
        self._tick_outputs(now, deadlines)
        if self._confirm_by is not None and self._ending is None:
            if now >= self._confirm_by:
                self.end("its launch was not confirmed")
            deadlines.append(self._confirm_by)
        self._tick_end(now, deadlines)
        return min((d for d in deadlines if d is not None), default=None)

    def _tick_orphan(self, now: float, deadlines: List[Optional[float]]) -> None:
        """End where nobody could ever come back: our sockets and our record were removed."""
        if self._ending is not None or any(client.carriers for client in self.clients.values()):
            return
        if now >= self._look_at:
            self._look_at = now + LOOK_FOR_PLACE
            if not any(map(os.path.lexists, (self.sockets, self._record_path))):
                self.end("its directories are gone")
                return
        deadlines.append(self._look_at)

    def _tick_outputs(self, now: float, deadlines: List[Optional[float]]) -> None:
        present = [client for client in self.clients.values() if client.is_present(now)]
        listeners = {
            (client.attachment.id, stream.id)
            for client in present
            for stream in client.kernels
            if stream.channel == "iopub" and stream.position  # a spare one has said nothing
        }
        # Not before there is need: a kernel welcomes the first subscriber only (`iopub_welcome`,
        # JEP 65), and that is to be the client.
        is_needed = not present or any(client.watches for client in present)
        if is_needed and self.kernel.bound and not self.kernel.plan.curve:
            self.outputs.subscribe(self.kernel.plan.addresses["iopub"])
        heard = max((client.heard for client in self.clients.values()), default=now)
        deadlines.append(self.outputs.attend(listeners, heard, now))
        deadlines += [client.heard + LOST_AFTER for client in present]
        if self._activity_at is not None and now >= self._activity_at:
            self._activity_at = None
            for client in present:
                if client.watches:
                    client.notify("activity", busy=self.outputs.busy, since=self.outputs.since)
        deadlines.append(self._activity_at)

    def _activity(self) -> None:
        """What the kernel does has changed: say so soon, and not each time."""
        if self._activity_at is None:
            self._activity_at = self.loop.now() + ACTIVITY_PAUSE

    def status(self) -> Dict[str, Any]:
        """How the kernel is, for those who list the kernels of this host."""
        now = self.loop.now()
        clients = list(self.clients.values())
        attached = sum(client.is_present(now) for client in clients)
        silent = [client.silent_since for client in clients if client.silent_since is not None]
        left = None
        if not attached and silent and not self.persistent:
            left = max(silent) + self.lease - now
        return {
            "attached": attached,
            "parted": None if attached else self._parted,
            "lease_left": left,
            "spooled": self.limits.memory_used + self.limits.disk_used,
            "busy": self.outputs.busy,
            "busy_since": self.outputs.since,
            "keeps_outputs": self.outputs.is_away,
            "paused": self._is_paused,
        }

    def _kernel_bound(self, now: float) -> None:
        self._write_record()
        for client in self.clients.values():
            client.notify("bound", pid=self.kernel.pid)
            for stream in list(client.attachment.streams.values()):
                if stream.channel != AGENT:
                    client.attend(stream, now)

    def _tick_client(self, client: Client, now: float, deadlines: List[Optional[float]]) -> None:
        due = client.attachment.next_deadline()
        if due is not None and now >= due:
            for carrier in list(client.carriers):
                carrier.pump(now)
            due = client.attachment.next_deadline()
        if due is not None and due > now:
            # What is due already waits for room on its carrier, which brings it by itself.
            deadlines.append(due)
        client.discard_done()
        for kernel in list(client.kernels.values()):
            kernel.read(client.may_read)
        if client.silent_since is None:
            return
        expires = client.silent_since if client.has_left else client.silent_since + self.lease
        if now >= expires:
            self.log.line(f"= attachment {client.attachment.id[:8]} ends")
            client.close()
            del self.clients[client.attachment.id]
            if self.clients:
                return
            if self.kernel.exited is not None:
                self.end("the kernel exited while nobody was attached")
            elif not client.has_left and not self.persistent:
                self.end("its lease ran out")
        else:
            deadlines.append(expires)

    # -- the end ---------------------------------------------------------------------------------

    def end(self, why: str) -> None:
        """Begin to end: the kernel first, then what it left, then the agent."""
        if self._ending is None:
            self._ending = why
            self._restart = None
            self.log.line(f"= ending: {why}")
            self.kernel.signal(signal.SIGTERM)
            self._pause(False)
            self._kill_at = self.loop.now() + GRACE
            self.loop.hurry()

    def _tick_end(self, now: float, deadlines: List[Optional[float]]) -> None:
        if self._ending is None:
            return
        if self._gone_at is None:
            if self.kernel.exited is None:
                if self._kill_at is not None and now >= self._kill_at:
                    self.kernel.signal(signal.SIGKILL)
                    self._kill_at = None
                deadlines.append(self._kill_at)
                return
            self._leave_nothing()
            self._gone_at = now + FAREWELL
            for client, number in self._enders:
                client.notify("done", number=number, result={})
        if now >= self._gone_at or not any(client.has_unread for client in self.clients.values()):
            self.loop.running = False
        deadlines.append(self._gone_at)

    def _leave_nothing(self) -> None:
        """The kernel has exited: so go the sockets and the files."""
        self.door.close()
        records.remove(self.sockets)
        # Not of a kernel whose launch was given up, which nobody ever had.
        is_told = self._confirm_by is None and self._attached < 0
        is_told = is_told and (self.persistent or not self._enders)
        if is_told:
            records.keep_files(self.id)
        records.remove(self.directory)
        if is_told:
            records.write_ended(self.id, str(self._ending), self.kernel.exited)
