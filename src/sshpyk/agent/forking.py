"""The agent's side of fork servers (`sshpyk.agent.forkserver`): which one would do, a kernel from
it, and a hold on it, by which it lives.

A fork server stands for a new process as long as everything is equal that a process gets from who
starts it: that is its key. What differs from kernel to kernel travels with a request. What no
request can change (limits, niceness, groups, the control group, namespaces) is in the key.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import fcntl
import os
import struct
import sys
import time
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_WR, SOL_SOCKET

try:
    from _blake2 import blake2b  # as in `peers`
except ImportError:
    from hashlib import blake2b

from ..common import processes
from ..common.sockets import Socket
from ..wire.quickjson import dumps
from . import boot, records
from .kernel import Kernel
from .loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .kernel import Log, Plan
    from .loop import Loop

#: The fork server's own file, which travels as source for whatever Python the kernel has.
SOURCE = "sshpyk.agent.forkserver"

#: What `python -c` runs in a fork server; after it come words to be written over.
STUB = (
    "import os;"
    "server={'__name__':'sshpyk fork server'};"
    "exec(compile(os.fdopen(5,'rb').read(),'<sshpyk fork server>','exec'),server);"
    "server['run']()"
)
ROOM = 2000  # bytes for the command line of a kernel

#: Its socket, in a directory of its own.
SOCKET = "fork.sock"

#: What follows the path of its record in that of a file that is locked while it begins and runs.
LOCK = ".lock"

#: Variables that differ between logins, notebooks or shells, and that nothing reads at import.
VOLATILE = {
    *("JPY_PARENT_PID", "JPY_SESSION_NAME", "IPYKERNEL_CELL_NAME"),
    *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "XDG_SESSION_ID"),
    *("PWD", "OLDPWD", "SHLVL", "_"),
}

#: Kernels' commands that can be forked: `python [options] -m MODULE ...`.
MODULES = ("ipykernel_launcher", "ipykernel")

#: Seconds from a kernel's start to that of its fork server, at least: when it has nothing to do.
REST = 2.0

#: Seconds that a fork server stays when no agent is left, as for who closes a notebook and opens
#: the next one.
LINGER = 600.0

#: Seconds between two answers; a busy machine forks in a tenth of one.
PATIENCE = 3.0

#: Seconds for how much memory a kernel has used, for which nobody should have to wait.
PEAK_WITHIN = 0.5

#: Fork servers of one user on one host: somebody may have an environment for each notebook.
MOST = 4

#: Bytes of memory that must be free for one to be started: it takes 50 MB.
ROOM_IN_MEMORY = 400 * 1024 * 1024

#: How a request begins, see `sshpyk.agent.forkserver`.
HEAD = struct.Struct("=cI")


class Command:
    """A kernel's command that could be forked: its words, which of them is the Python's last, and
    the key of the fork server that would do."""

    def __init__(self, argv: List[str], python: str, first: int, plan: Plan) -> None:
        self.argv = argv
        self.python = python
        self.options = argv[1:first]
        self.module = argv[first + 1]
        self.rest = first + 2
        self.env = {name: value for name, value in plan.env.items() if name not in VOLATILE}
        self.key = self._make_key()

    def _make_key(self) -> str:
        import resource

        status = os.stat(self.python)
        limits = [
            resource.getrlimit(getattr(resource, name))
            for name in sorted(vars(resource))
            if name.startswith("RLIMIT_")
        ]
        facts = (
            (_source(), self.argv[0], self.options, sorted(self.env.items())),
            (self.python, status.st_mtime_ns, status.st_size, status.st_ino),
            (os.getuid(), os.getgid(), sorted(os.getgroups()), limits, os.nice(0)),
            sorted(os.sched_getaffinity(0)),
            [_text("/proc/self/" + name) for name in ("cgroup", "oom_score_adj", "attr/current")],
            [_link("/proc/self/ns/" + name) for name in ("mnt", "pid", "net", "user", "ipc")],
            (processes.host_name(), processes.boot_id()),
        )
        return blake2b(repr(facts).encode("utf-8", "replace"), digest_size=16).hexdigest()

    @property
    def record_path(self) -> str:
        """Where the record of such a fork server is."""
        return os.path.join(records.forks_directory(), self.key + records.FORK)


def command_of(plan: Plan, argv: List[str]) -> Optional[Command]:
    """The command `argv` of `plan`, if a fork server could stand for it."""
    is_plain = plan.fork_server and not (plan.setup or plan.login_shell)
    if not is_plain or sys.platform != "linux" or "-m" not in argv:
        return None
    first = argv.index("-m")
    if argv[first + 1 : first + 2] not in [[module] for module in MODULES]:
        return None
    for word, before in zip(argv[1:first], argv[:first]):  # noqa: B905  # strict= is 3.10's
        if not word.startswith("-") and before not in ("-X", "-W"):
            return None
        if word[:2] in ("-c", "-i", "-h", "-V", "-x"):
            return None
    paths = plan.env.get("PYTHONPATH", "")
    if paths and not all(map(os.path.isabs, paths.split(os.pathsep))):
        return None  # it depends on the directory
    python = _which(argv[0], plan.env)
    try:
        with open(python, "rb") as file:
            is_program = file.read(4) == b"\x7fELF"  # what a script does may depend on anything
        return Command(argv, python, first, plan) if is_program else None
    except OSError:
        return None


def _which(name: str, env: Dict[str, str]) -> str:
    """The program that `name` means."""
    if "/" in name:
        return name if os.path.isabs(name) else ""
    for path in env.get("PATH", os.defpath).split(os.pathsep):
        if os.path.isabs(path) and os.access(os.path.join(path, name), os.X_OK):
            return os.path.join(path, name)
    return ""


def _source() -> str:
    return str(boot.Sources(boot._files).get_source(SOURCE))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


# -- a kernel ------------------------------------------------------------------------------------


class Report:
    """The connection to a kernel's reporter: by it the agent hears of the kernel's end, and the
    reporter of the agent's."""

    def __init__(self, sock: Socket) -> None:
        self._socket = sock
        self._data = b""
        self.peak: Optional[int] = None  # the most memory that the kernel used, once it has ended
        self.fileno = sock.fileno

    def line(self) -> bytes:
        """What comes next, without its end. Raises OSError where nothing does in time."""
        while b"\n" not in self._data:
            more = self._socket.recv(100)
            if not more:
                raise OSError("the reporter is gone")
            self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return line

    def watch(self) -> None:
        """From now on nothing waits."""
        self._socket.setblocking(False)

    def status(self, *, is_patient: bool = False) -> Optional[int]:
        """As waitpid says it, if the kernel has ended, or when it has. Raises EOFError where
        nobody will ever know: the reporter is gone, and the kernel with it."""
        if is_patient:
            self._socket.settimeout(PATIENCE)
        try:
            status = int(self.line().partition(b" ")[2])
        except BlockingIOError:
            return None
        except OSError:
            raise EOFError from None
        try:
            # Only who takes a process off the system's hands is told, and that is done once its
            # end is known here.
            self._socket.shutdown(SHUT_WR)
            self._socket.settimeout(PEAK_WITHIN)
            self.peak = 1024 * int(self.line().partition(b" ")[2])
        except (OSError, ValueError):
            pass  # it was killed, or is an older one
        return status

    def close(self) -> None:
        """Close; a kernel that runs ends."""
        self._socket.close()


class ForkedKernel(Kernel):
    """A kernel that a fork server has forked where there is one, and else a usual one."""

    report: Optional[Report] = None

    def _make_process(self, output: int, errors: int, executed: int) -> int:
        pid, self.report = fork(self.plan, self.argv, self.umask, output, errors) or (0, None)
        return pid or super()._make_process(output, errors, executed)

    def _wait(self, options: int) -> Optional[int]:
        if self.report is None:
            return super()._wait(options)
        try:
            status = self.report.status(is_patient=options == 0)
            self.peak = self.report.peak
            return status
        except EOFError:
            self.signal(signal.SIGKILL)  # as whoever has killed its parent did
            return int(signal.SIGKILL)

    def close(self) -> None:
        """Close its pipes and its log, and let its reporter go."""
        super().close()
        if self.report is not None:
            self.report.close()


def fork(
    plan: Plan, argv: List[str], umask: int, output: int, errors: int
) -> Optional[Tuple[int, Report]]:
    """Have a kernel forked: its pid and its `Report`. None where a new process is to be made."""
    command = command_of(plan, argv) if records.has_forks() else None
    if command is None:
        return None
    record = records.read(command.record_path)
    if record is None:
        return None
    sock = _connect(record)
    if sock is None:
        return None
    request = {
        "argv": [_portable(word) for word in argv],
        "rest": command.rest,
        "module": command.module,
        "cwd": _portable(plan.cwd),
        "umask": umask,
        "env": {_portable(name): _portable(value) for name, value in plan.env.items()},
    }
    data = dumps(request).encode("ascii")
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        standard = struct.pack("=3i", null, output, errors)
        head = HEAD.pack(b"F", len(data))
        sock.sendmsg([head], [(SOL_SOCKET, SCM_RIGHTS, standard)])
        sock.sendall(data)
        report = Report(sock)
        word = b"working"
        while word == b"working":  # on others first, who were before us
            word, _, number = report.line().partition(b" ")
        if word == b"pid":
            report.watch()
            return int(number), report
    except OSError:
        pass  # it has just ended, or is out of processes, or too slow
    finally:
        os.close(null)
    sock.close()
    return None


def _portable(text: str) -> str:
    """Its bytes, as Latin-1: the kernel's Python may read them in another encoding than ours."""
    return os.fsencode(text).decode("latin-1")


def _connect(record: Dict[str, Any]) -> Optional[Socket]:
    """A connection to a fork server that is there; what one has left is removed."""
    sock = Socket(AF_UNIX)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(os.path.join(str(record["directory"]), SOCKET))
        return sock
    except BlockingIOError:
        pass  # so many wait there
    except OSError:
        _forget(record)
    sock.close()
    return None


def all_records() -> List[Dict[str, Any]]:
    """The records of the fork servers of this node: each was there once."""
    directory = records.forks_directory()
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = (records.read(os.path.join(directory, n)) for n in names if n.endswith(records.FORK))
    return [one for one in found if one is not None and one.get("host") == processes.host_name()]


def _forget(record: Dict[str, Any]) -> None:
    """Remove what a fork server that was killed has left. Whatever a record says, only what is
    called as ours is."""
    key, directory = str(record.get("key")), str(record.get("directory"))
    name = os.path.basename(directory).lstrip(".")
    if name.startswith(records.SOCKETS) and not os.path.islink(directory):
        records.remove(directory)
    if key.isalnum():
        path = os.path.join(records.forks_directory(), key + records.FORK)
        if (records.read(path) or {}).get("directory") == directory:
            os.unlink(path)
            if os.path.exists(path + LOCK):
                os.unlink(path + LOCK)


# -- the fork server itself ----------------------------------------------------------------------


class Hold:
    """An agent's hold on the fork server of its kernel, which it starts where there is none."""

    def __init__(self, loop: Loop, log: Log) -> None:
        self._loop = loop
        self._log = log
        self._socket: Optional[Socket] = None
        self._kernel: Optional[Kernel] = None  # the last for which something was done
        self._due = 0.0

    def tick(self, kernel: Kernel, is_busy: bool, now: float) -> Optional[float]:
        """Take hold when there is time for it; returns when to ask again."""
        if self._socket is not None or not kernel.bound or not kernel.plan.fork_server:
            return None
        if kernel is not self._kernel:
            self._kernel = kernel
            self._due = now if kernel.report is not None else now + REST
        if self._due == float("inf") or is_busy:
            return None  # its becoming idle is an event
        if now < self._due:
            return self._due
        self._due = float("inf")
        try:
            self._take(kernel)
        except (OSError, boot.Failed) as error:
            self._log.line(f"! no fork server: {error}")
        return None

    def _take(self, kernel: Kernel) -> None:
        command = command_of(kernel.plan, kernel.argv)
        if command is None:
            return
        directory = records.forks_directory()
        os.makedirs(directory, 0o700, exist_ok=True)
        records.require_private(directory)
        record = records.read(command.record_path)
        sock = _connect(record) if record is not None else None
        if sock is not None and record is not None:
            self._held(sock, record)
            return
        reason = too_much()
        if reason:
            self._log.line(f"= no fork server: {reason}")
            return
        lock = os.open(command.record_path + LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another agent starts it
            self._start(command, kernel, lock)
        finally:
            os.close(lock)

    def _start(self, command: Command, kernel: Kernel, lock: int) -> None:
        directory = records.make_sockets_directory()
        record = {
            "key": command.key,
            "directory": directory,
            "host": processes.host_name(),
            "boot_id": processes.boot_id(),
            "python": command.argv[0],
            "started_at": time.time(),
        }
        arguments = command.record_path, record, directory, LINGER
        source = f"{_source()}\nmain{arguments!r}\n".encode()
        listener = Socket(AF_UNIX)
        path = os.path.join(directory, SOCKET)
        output, errors = os.pipe()
        program, sent = os.pipe()
        try:
            listener.bind(path)
            listener.listen(1)
            sock = Socket(AF_UNIX)
            sock.connect(path)
            os.set_blocking(sent, False)  # a pipe that holds less than this is an error, not a wait
            os.write(sent, source)
            os.close(sent)
            sent = -1
            words = [command.argv[0], *command.options, "-c", STUB, "-" * ROOM]
            descriptors = errors, listener.fileno(), lock, program
            _spawn(command.python, words, command.env, kernel.umask, descriptors)
        except BaseException:
            os.close(output)
            records.remove(directory)
            raise
        finally:
            for fd in (errors, program, sent):
                if fd >= 0:
                    os.close(fd)
            listener.close()
        self._log.line(f"= started a fork server: {command.python}")
        self._listen(output)
        self._held(sock, record)

    def _listen(self, output: int) -> None:
        """Log what it says until it is ready, such as why it never will be."""

        def read(events: int) -> None:
            data = os.read(output, 65536)
            for line in data.decode("utf-8", "replace").splitlines():
                self._log.line("< fork server: " + line)
            if not data:
                self._loop.watch(output, 0, read)
                os.close(output)

        self._loop.watch(output, READ, read)

    def _held(self, sock: Socket, record: Dict[str, Any]) -> None:
        """It lives as long as the connection, or a while longer."""
        self._socket = sock
        sock.setblocking(False)

        def ended(events: int) -> None:
            self._log.line("= the fork server has ended")
            self._loop.watch(sock.fileno(), 0, ended)
            sock.close()
            self._socket = None
            _forget(record)  # where it was killed

        self._loop.watch(sock.fileno(), READ, ended)


def _spawn(
    program: str, argv: List[str], env: Dict[str, str], umask: int, descriptors: Tuple[int, ...]
) -> None:
    """Start a process that is nobody's child, with what comes out, and whatever else it has, as
    descriptors 1 and 2, 3, 4 and 5. Raises OSError."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.set_wakeup_fd(-1)
        for signum in (
            *(signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGXFSZ),
            signal.SIGCHLD,
        ):
            signal.signal(signum, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        # First out of the way of each other.
        output, *others = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in descriptors)
        os.dup2(null, 0)
        for number, fd in enumerate((output, output, *others), 1):
            os.dup2(fd, number)
        os.umask(umask)
        os.chdir("/")
        os.execve(program, argv, env)
    finally:
        os._exit(127)


def too_much() -> str:
    """Why another fork server would be too much for this host; empty where it would not."""
    count = 0
    for record in all_records():
        sock = _connect(record)
        if sock is not None:
            sock.close()
            count += 1
    if count >= MOST:
        return f"there are {count}"
    free = free_memory()
    if free is not None and free < ROOM_IN_MEMORY:
        return f"{free // 1024**2} MB of memory are free"
    return ""


def free_memory() -> Optional[int]:
    """Bytes that this process and its children may still take, if the system tells."""
    found = []
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    own = [line[3:] for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    path = "/sys/fs/cgroup" + own[0] if own else ""
    while path.startswith("/sys/fs/cgroup/"):
        limit, used = _text(path + "/memory.max").strip(), _text(path + "/memory.current").strip()
        if limit.isdigit() and used.isdigit():
            found.append(int(limit) - int(used))
        path = os.path.dirname(path)
    return min(found, default=None)


def describe_all() -> List[Dict[str, Any]]:
    """What fork servers there are: {"python", "pid", "memory"}, in bytes, 0 where unknown."""
    found = []
    for record in all_records():
        pid = processes.listener(os.path.join(str(record.get("directory")), SOCKET))
        if pid:
            shares = _text(f"/proc/{pid}/smaps_rollup").splitlines()
            memory = [int(line.split()[1]) * 1024 for line in shares if line.startswith("Pss:")]
            found.append({"python": record["python"], "pid": pid, "memory": sum(memory)})
    return found
