"""The ssh master: one authenticated connection to a host that all kernels and processes share.

The user's own is respected: where the configuration sets ControlMaster and ControlPath for the
host, that is the one. Elsewhere ours is made by options on the command line, with a private
control path, so that no configuration is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping

from .. import errors
from ..aio import within
from ..private import runtime_directory
from . import askpass, complaints, config, mastersocket
from .command import QUIET, Destination, Result, run

#: Seconds that an idle master stays, so that the next kernel starts without a login.
PERSIST = "10m"

#: Seconds for what the master answers by itself, without the network.
LOCAL_TIMEOUT = 10.0

#: Seconds for a master that is given up to say so. One that hangs never does.
RETIRE = 1.0

#: Seconds between tries for the lock while another process makes the master.
LOCK_PAUSE = 0.05

#: Options with which a configuration would keep a session from doing its job, and the values that
#: let it. They are named only where they are set, for older versions of ssh don't know them.
HARMLESS = {"forkafterauthentication": "no", "stdinnull": "no", "sessiontype": "default"}

#: What names one master: the inode and time of its socket. A new master is a new identity.
Identity = tuple[int, int]

#: A forward: the path of a local socket, and a path or a port of loopback on the host.
Pair = tuple[str, str | int]


class Master:
    """The master for one destination. All methods belong to one event loop.

    `login_logs` are the log methods that are told what ssh says at a login, each with how much it
    should say: "v", "vv" or "vvv".
    """

    def __init__(
        self, destination: Destination, login_logs: Mapping[Callable[..., None], str] | None = None
    ) -> None:
        self.destination = destination
        self.name = ""  #: of what is kept for it in files; known once `prepare` was there
        self.connect_time = 0.0  # seconds that the last login took
        self._login_logs = {} if login_logs is None else login_logs
        self._control_path = ""
        self._is_stale = True  # whether the configuration must be read (again)
        self._is_ours = True
        self._persists = True
        self._options: list[str] = []  # against what the configuration sets
        self._attempt: asyncio.Task[Identity] | None = None
        self._keyring_failed = False
        self._asking = asyncio.Lock()  # the system lets few wait for a master that is busy

    # -- is it there -----------------------------------------------------------------------------

    def identity(self) -> Identity | None:
        """The master that is there now, or None. Asks no process."""
        if not self._control_path:
            return None
        try:
            status = os.stat(self._control_path)
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(BlockingIOError):
                # Where more wait for it than the system lets, it is busy and there.
                probe.setblocking(False)
                probe.connect(self._control_path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    async def ensure(self, *, dead: object = None, timeout: float) -> Identity:
        """Make sure of a master, another than the one known to be `dead`; `timeout` in seconds.

        All who ask meanwhile share one attempt. Raises `HostError`, or `SettingsError`.
        """
        await self.prepare()
        found = self.identity()
        if found is not None and found != dead:
            self._keyring_failed = False  # somebody got in: what the keyring has may be new
            return found
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._make(dead, timeout))
            self._attempt.add_done_callback(self._attempt_done)
        return await asyncio.shield(self._attempt)

    async def prepare(self) -> None:
        """Read ssh's configuration, which says where the master is. Raises `SettingsError`."""
        # Its directory may have gone meanwhile: $XDG_RUNTIME_DIR does with the last session.
        if self._is_stale or not os.path.isdir(os.path.dirname(self._control_path)):
            await self._read_config()

    def _attempt_done(self, task: asyncio.Task[Identity]) -> None:
        self._attempt = None
        if not task.cancelled():
            task.exception()  # those who waited have it; nobody may be left who did

    async def _read_config(self) -> None:
        self.destination.check()
        settings = await config.settings(self.destination)
        path = settings.get("controlpath", ["none"])[0]
        wanted = settings.get("controlmaster", ["false"])[0]
        # "ask" wants a person for each session; a master of ours asks nobody.
        self._is_ours = path == "none" or wanted not in ("true", "yes", "auto")
        self._persists = settings.get("controlpersist", ["no"])[0] not in ("no", "false")
        # Another user, port, jump host or key is another connection. Which file says so is not:
        # `sshpyk connect HOST` makes it for a kernel that names ssh's usual file, too.
        text = repr((self.destination.host, self.destination.node, sorted(settings.items())))
        self.name = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self._is_ours:
            path = os.path.join(runtime_directory(), self.name)
        self._options = [*QUIET]
        for name, value in HARMLESS.items():
            if settings.get(name, [value])[0] != value:
                self._options += ["-o", f"{name}={value}"]
        if settings.get("loglevel", [""])[0] in ("SILENT", "QUIET", "FATAL"):
            self._options += ["-o", "LogLevel=ERROR"]  # what it says is all that we can tell
        self._control_path = path
        self._is_stale = False

    async def _make(self, dead: object, timeout: float) -> Identity:
        async with self._lock(timeout):
            found = self.identity()
            if found is not None and found != dead:
                return found  # another process was first
            if found is not None:
                await self.retire()
            begun = time.monotonic()
            await self._start(timeout)
            self.connect_time = time.monotonic() - begun
            found = self.identity()
            if found is None:
                raise errors.HostError(
                    host=self.destination.host,
                    command=self.destination.for_people(),
                    details=f"ssh connected, but left no control socket at {self._control_path}",
                )
            return found

    @contextlib.asynccontextmanager
    async def _lock(self, timeout: float) -> AsyncIterator[None]:
        """Let one process at a time make the master."""
        name = hashlib.sha256(self._control_path.encode()).hexdigest()[:16] + ".lock"
        path = os.path.join(runtime_directory(), name)
        deadline = time.monotonic() + timeout + LOCAL_TIMEOUT
        while (file := _try_lock(path)) is None:
            if time.monotonic() > deadline:
                raise self._unreachable("another process holds the lock")
            await asyncio.sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            os.unlink(path)
            os.close(file)

    async def _start(self, timeout: float) -> None:
        # Less than `timeout`, so that ssh can say itself where it got stuck.
        seconds = max(1, math.ceil(timeout) - 1)
        connect_within = ["-o", f"ConnectTimeout={seconds}"]
        verbosity = max(self._login_logs.values(), default="")
        if verbosity:
            connect_within.insert(0, f"-{verbosity}")
        try:
            result = await run(self.start_argv(*connect_within, "-f"), timeout=timeout)
            if result.status != 0 and self._may_ask_keyring(result.stderr):
                with askpass.environment(self.destination.host, askpass.KEYRING) as environment:
                    argv = self.start_argv(*askpass.OPTIONS, *connect_within, "-f")
                    result = await run(argv, timeout=timeout, environment=environment)
                    self._keyring_failed = result.status != 0 and askpass.gave(environment)
        except TimeoutError:
            raise self._unreachable(f"no connection within {timeout:g} s") from None
        for log in list(self._login_logs):
            log("< ssh said:\n%s", result.stderr.strip())
        if result.status != 0:
            self._is_stale = True  # the configuration may be what gets mended
            raise complaints.host_error(self.destination, result.stderr)

    def _may_ask_keyring(self, stderr: str) -> bool:
        # What it has may be wrong: the second time it would be, and hosts lock accounts for that.
        refused = type(complaints.host_error(self.destination, stderr))
        is_refused = refused is errors.AuthenticationFailed
        return is_refused and not self._keyring_failed and askpass.has_keyring()

    def start_argv(self, *options: str, persist: str = PERSIST) -> list[str]:
        """The command line that makes the master; `options` are stronger than ours."""
        words = [*options, *self._options, "-o", "ClearAllForwardings=yes"]
        if "sessiontype=default" in words:  # -N says it for the master, and can't be said twice
            at = words.index("sessiontype=default")
            del words[at - 1 : at + 1]
        # Our own pings notice a dead connection; these end one whose owners have all gone. Late,
        # for one that comes back after minutes spares a login that may need a person.
        words += ["-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=20"]
        if self._is_ours:
            words += ["-o", "ControlMaster=auto", *self._by_control_path]
        if self._is_ours or not self._persists:
            words += ["-o", f"ControlPersist={persist}"]
        return self.destination.argv(*words, "-N")

    def _unreachable(self, details: str) -> errors.HostError:
        return complaints.host_error(self.destination, "timed out: " + details)

    async def retire(self) -> None:
        """Let go of a master that does not answer, and make room for another.

        It is not told to exit: its connection may be silent and not dead, and come back by itself
        where a login would need a person. What goes through it goes on, and when the last of that
        has closed, it ends.
        """
        await self._ask((mastersocket.STOP_LISTENING,), timeout=RETIRE)
        with contextlib.suppress(OSError):
            os.unlink(self._control_path)

    # -- what it is used for ---------------------------------------------------------------------

    def session_argv(self, command: str) -> list[str]:
        """The command line of a session through the master: `command` for the host's shell."""
        # A session would ask the master for the configuration's forwards, and fail without them;
        # and where the master can't or may not have one more, it would log in by itself.
        options = [*self._options, "-o", "ControlMaster=no", "-o", "ClearAllForwardings=yes"]
        options += ["-o", "ProxyCommand=false"]
        return self.destination.argv(*options, *self._by_control_path, "-T", command=command)

    @property
    def _by_control_path(self) -> list[str]:
        escaped = self._control_path.replace("%", "%%")
        return ["-o", f'ControlPath="{escaped}"']

    async def answers(self, *, timeout: float) -> bool:
        """Whether the host says anything through the master within `timeout` seconds."""
        result = await self._run(self.session_argv("exit 0"), timeout=timeout)
        return result.status != 255 or complaints.is_session_refused(result.stderr)

    async def forward(self, pairs: list[Pair]) -> bool:
        """Add forwards, each from a local socket's path to a remote path or loopback port.

        Returns whether the master took them.
        """
        asked = (mastersocket.forward(mastersocket.OPEN_FORWARD, *pair) for pair in pairs)
        return await self._ask(*asked)

    async def cancel(self, pairs: list[Pair]) -> None:
        """Take forwards back, as far as they are there."""
        async with self._asking:
            await cancel(self._control_path, pairs)

    @property
    def control_path(self) -> str:
        """Where its control socket is; empty before `prepare`."""
        return self._control_path

    async def exit(self) -> bool:
        """End the master; whether there was one."""
        await self.prepare()
        return await self._ask((mastersocket.TERMINATE,))

    async def _ask(self, *requests: mastersocket.Request, timeout: float = LOCAL_TIMEOUT) -> bool:
        async with self._asking:
            return await _ask(self._control_path, *requests, timeout=timeout)

    async def _run(self, argv: list[str], timeout: float = LOCAL_TIMEOUT) -> Result:
        try:
            return await run(argv, timeout=timeout)
        except TimeoutError:
            return Result(255, "", "the master does not answer")


async def _ask(path: str, *requests: mastersocket.Request, timeout: float = LOCAL_TIMEOUT) -> bool:
    """Whether the master at `path` has done all of `requests` within `timeout` seconds."""
    try:
        await within(timeout, mastersocket.ask(path, *requests))
    except (mastersocket.Refused, OSError, EOFError, TimeoutError):
        return False
    return True


async def cancel(path: str, pairs: list[Pair]) -> None:
    """Have the master at `path` take forwards back, as far as they are there."""
    asked = (mastersocket.forward(mastersocket.CLOSE_FORWARD, *pair) for pair in pairs)
    await _ask(path, *asked)


def _try_lock(path: str) -> int | None:
    """Lock a file, made if need be; its descriptor, or None while another process has it."""
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it before has removed it: then this lock is on a file that nobody will find.
        if os.fstat(file).st_ino == os.stat(path).st_ino:
            return file
    except OSError:
        pass
    os.close(file)
    return None
