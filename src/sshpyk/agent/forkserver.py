"""The fork server: a Python that has imported ipykernel and nothing else, and forks kernels.

It runs in the kernel's interpreter, on its own: its source is sent to `python -c` (`STUB`), so it
imports nothing of ours, and nothing that a kernel would not. It is started by an agent
(`sshpyk.agent.forking`) whose kernel is idle, and serves all agents of this user whose kernels
would be started by the same command in the same environment.

Who connects to its socket and says nothing is an agent that may need it: it ends when there has
been none for `linger` seconds. Who sends a request gets a kernel. A request is `HEAD`, then JSON,
with the kernel's stdin, stdout and stderr attached. It is read only after the first fork, so that
nothing of one kernel is ever in the memory of another. Whose turn has not come is told "working"
at each fork: so an agent knows a server that is busy from one that answers no more. Two processes
are forked for each request:

- the *reporter*, the kernel's parent. It tells the agent "pid N", then "ended STATUS" as waitpid
  says it. It ends when the agent does, or has heard of the end, for which it says "peak N", the
  most memory used in kB; and the kernel ends with it.
- the kernel. No code of a user's has run before it is forked, and no thread is there.

So the end of the fork server ends no kernel. "stale" is the answer where a package, or what else
the imports have come from, has changed since: then this fork server ends too.
"""

from __future__ import annotations

import _thread
import json
import os
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

    Stamps = Dict[str, Optional[Tuple[int, int, int]]]

#: What a kernel runs, which reads the environment when it is imported. So it is imported after the
#: fork, and what it imports before.
APPLICATION = "ipykernel.kernelapp"

#: What a kernel imports when it begins, beyond what `APPLICATION` says at its top. What a version
#: does not have is left out; what it imports beyond that, it imports after the fork.
MODULES = (
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.extensions.storemagic",
    "sqlite3",
    "tornado.platform.asyncio",
    "pdb",
    "runpy",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "argcomplete",
    "faulthandler",
)

#: How a request begins: a letter, and how many bytes of JSON follow.
HEAD = struct.Struct("=cI")
FORK = b"F"

#: The descriptors that an agent starts a fork server with: its socket, and a file that is locked
#: while it runs.
LISTENER, LOCK = 3, 4

#: Seconds for a thread that has ended to be gone.
GONE_WITHIN = 5.0

#: How nice it is while it gets ready, and where Linux tells and takes that of a session.
NICENESS = 19
AUTOGROUP = "/proc/self/autogroup"

PR_SET_PDEATHSIG = 1

#: What `run` is to start, once this process has become a kernel.
_module: List[str] = []


def main(record_path: str, record: Dict[str, Any], directory: str, linger: float) -> None:
    """Import, listen, and fork; returns in a kernel only, which then is to call `run`.

    `record` is written to `record_path` when it is ready, and removed with `directory`, where its
    socket is, at the end.
    """
    try:
        has_cwd = bool(sys.path) and sys.path[0] == ""
        if has_cwd:
            del sys.path[0]  # a kernel has its own there, and imports nothing of ours from it
        stamps = _stamps(_roots())
        _import_all()
        stamps.update(_stamps(_folders()))
        _require_plain()
        _freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that reporters need not be waited for
        listener = socket.socket(fileno=LISTENER)
        listener.listen(128)  # again: the system tells whose it is
        added = _added_variables()
        record["pid"] = os.getpid()
        _write(record_path, record)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (1, 2):
            os.dup2(null, fd)
        os.close(null)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        _remove(record_path, directory)
        os._exit(1)
    server = _Server(listener, record_path, directory, stamps, has_cwd, added)
    server.serve(linger)
    if not server.is_kernel:
        _remove(record_path, directory)
        os._exit(0)


def run() -> None:
    """Be the kernel, as `python -m MODULE` is."""
    import runpy

    variables = sys.modules["__main__"].__dict__
    names = "__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__"
    for name in [name for name in variables if name not in names]:
        del variables[name]
    runpy._run_module_as_main(_module[0])  # type: ignore[attr-defined]  # what `python -m` calls


def _import_all() -> None:
    """Import `MODULES`, giving way to whoever has something to do.

    In a thread, because on Linux each has a niceness of its own, and none may ever take it back:
    the kernels that are forked later are as nice as the agent, not as this. A session may.
    """
    before = _set_session_niceness(NICENESS)
    done = _thread.allocate_lock()
    failed: List[BaseException] = []

    def load() -> None:
        try:
            os.nice(NICENESS)
            _import_imports(APPLICATION)
            for name in MODULES:
                _import(name)
            if "argcomplete" in sys.modules:
                _import("traitlets.config.argcomplete_config")
        except BaseException as error:
            failed.append(error)
        finally:
            done.release()

    done.acquire()
    _thread.start_new_thread(load, ())
    done.acquire()
    if before is not None:
        # Or each fork would wait until nobody else has anything to do.
        _set_session_niceness(before)
    if failed:
        raise failed[0]


def _set_session_niceness(niceness: int) -> Optional[int]:
    """Give this session another niceness, where the system schedules sessions, not processes
    (autogroups, sched(7)). What it was; None where it is not so.

    Raises BlockingIOError where others change theirs all the time.
    """
    deadline = time.monotonic() + GONE_WITHIN
    while True:
        try:
            with open(AUTOGROUP) as file:
                before = int(file.read().split()[-1])
            with open(AUTOGROUP, "w") as file:
                file.write(str(niceness))
            return before
        except BlockingIOError:
            # The system allows one change in a tenth of a second, of all users' together.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        except (OSError, ValueError, IndexError):
            return None


def _import_imports(name: str) -> None:
    """Import what the module `name` imports at its top, and not the module."""
    import ast
    from importlib.util import find_spec, resolve_name

    spec: Any = find_spec(name)
    for node in ast.parse(spec.loader.get_source(name)).body:
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), spec.parent)
            _import(module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                _import(alias.name)


def _import(name: str, wanted: Optional[List[str]] = None) -> None:
    """Import a module, and what is `wanted` of it where that is one; not what is not there."""
    try:
        __import__(name, fromlist=wanted or [])
    except ImportError:
        pass


def _freeze() -> None:
    """Have the garbage collector leave alone what is there, and so in the memory that is shared."""
    is_known = "gc" in sys.modules
    import gc

    gc.freeze()
    if not is_known:
        del sys.modules["gc"]


def _require_plain() -> None:
    """Raise RuntimeError where a fork would not be as a new process is: with threads, or traced."""
    deadline = time.monotonic() + GONE_WITHIN
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > deadline:
            raise RuntimeError("what was imported has started threads")
        time.sleep(0.01)
    if sys.gettrace() is not None or sys.getprofile() is not None:
        raise RuntimeError("it is traced")


class _Server:
    """Waits for agents, and forks for them."""

    def __init__(
        self,
        listener: socket.socket,
        record_path: str,
        directory: str,
        stamps: Stamps,
        has_cwd: bool,
        added: Dict[bytes, bytes],
    ) -> None:
        self.is_kernel = False
        self._listener = listener
        self._record_path = record_path
        self._directory = directory
        self._stamps = stamps
        self._has_cwd = has_cwd
        self._added = added
        self._connected: Dict[int, socket.socket] = {}
        self._queue: List[socket.socket] = []  # who has asked for a kernel
        self._poll = select.poll()

    def serve(self, linger: float) -> None:
        """Until nobody has been there for `linger` seconds, or this is a kernel."""
        self._listener.setblocking(False)
        self._poll.register(self._listener.fileno(), select.POLLIN)
        while True:
            patience = None if self._connected else linger * 1000
            ready = self._poll.poll(0 if self._queue else patience)
            if not ready and not self._queue:
                return
            for fd, _ in ready:
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._look_at(fd)
            if self._queue:
                connection = self._queue.pop(0)
                for other in self._queue:
                    _tell_working(other)
                if self._fork(connection):
                    return
                connection.close()

    def _accept(self) -> None:
        """Take all who wait."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            self._connected[connection.fileno()] = connection
            self._poll.register(connection.fileno(), select.POLLIN)

    def _look_at(self, fd: int) -> None:
        """A connection has something to say, or has ended."""
        self._poll.unregister(fd)
        connection = self._connected.pop(fd)
        if _peek(connection) == FORK:
            self._queue.append(connection)
        else:
            connection.close()

    def _fork(self, connection: socket.socket) -> bool:
        """Fork a reporter, and it a kernel; whether this is the kernel."""
        server = os.getpid()
        try:
            if os.fork():
                return False
        except OSError:
            return False  # the agent starts a new process, and says why not
        try:
            os.setsid()
            self._listener.close()
            for other in (*self._connected.values(), *self._queue):
                other.close()
            self._connected.clear()
            self._queue.clear()
            os.close(LOCK)
            self._report(connection, server)
        except BaseException:
            os._exit(1)
        return self.is_kernel

    def _report(self, connection: socket.socket, server: int) -> None:
        """The reporter's life; returns in the kernel."""
        connection.settimeout(GONE_WITHIN)
        request, standard = _receive(connection)
        if any(_stamp(path) != stamp for path, stamp in self._stamps.items()):
            _remove(self._record_path, self._directory)
            os.kill(server, signal.SIGTERM)
            connection.sendall(b"stale\n")
            os._exit(0)
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        reporter = os.getpid()
        hung_up = select.poll()
        hung_up.register(connection.fileno(), 0)
        if hung_up.poll(0):
            os._exit(1)  # the agent has not waited
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (wake, woken):
                os.close(fd)
            connection.close()
            _become(request, standard, reporter)
            env = {_bytes(name): _bytes(value) for name, value in request["env"].items()}
            _set_environment({**env, **self._added, b"JPY_PARENT_PID": b"%d" % reporter})
            if self._has_cwd:
                sys.path.insert(0, os.getcwd())
            self.is_kernel = True
            return
        for fd in standard:
            os.close(fd)
        request.clear()
        connection.sendall(b"pid %d\n" % pid)
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        while not any(fd == connection.fileno() for fd, _ in poll.poll()):
            os.read(wake, 4096)
            # Until the agent has heard of it the pid must be nobody else's: it stays a zombie.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                poll.unregister(wake)
                connection.sendall(b"ended %d\n" % _status(pid))
        try:
            os.kill(pid, signal.SIGKILL)
            used = os.wait4(pid, 0)[2]
            connection.sendall(b"peak %d\n" % used.ru_maxrss)
        except OSError:
            pass
        os._exit(0)


def _status(pid: int) -> int:
    """What waitpid will say of a process that has ended."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    if ended.si_code == os.CLD_EXITED:
        return ended.si_status << 8
    return ended.si_status | (0x80 if ended.si_code == os.CLD_DUMPED else 0)


def _peek(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""


def _tell_working(connection: socket.socket) -> None:
    try:
        connection.send(b"working\n", socket.MSG_DONTWAIT)
    except OSError:
        pass  # it has gone, which its turn will show


def _receive(connection: socket.socket) -> Tuple[Dict[str, Any], List[int]]:
    """A request, and the three descriptors that came with it."""
    size = struct.calcsize("=3i")
    data, ancillary, _, _ = connection.recvmsg(HEAD.size, socket.CMSG_SPACE(size))
    standard = list(struct.unpack("=3i", ancillary[0][2][:size]))
    wanted = HEAD.unpack(data)[1]
    pieces = b""
    while len(pieces) < wanted:
        more = connection.recv(wanted - len(pieces))
        if not more:
            raise EOFError
        pieces += more
    request: Dict[str, Any] = json.loads(pieces)
    return request, standard


def _become(request: Dict[str, Any], standard: List[int], reporter: int) -> None:
    """Make this process what a new one would be. Texts of a request are bytes, as Latin-1."""
    os.setsid()
    _die_with_parent()
    if os.getppid() != reporter:
        os._exit(127)
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
    for fd in standard:
        os.close(fd)
    os.umask(request["umask"])
    os.chdir(_bytes(request["cwd"]))
    argv = [_bytes(word) for word in request["argv"]]
    rest = [os.fsdecode(word) for word in argv[request["rest"] :]]
    sys.argv[:] = ["-m", *rest]
    original = getattr(sys, "orig_argv", [])  # since Python 3.10
    original[:] = [os.fsdecode(word) for word in argv]
    _set_title(argv)
    _forget_the_past()
    _module[:] = [request["module"]]


def _added_variables() -> Dict[bytes, bytes]:
    """What Python itself, or what was imported, has put into the environment, as it would into a
    new process's (LC_CTYPE)."""
    with open("/proc/self/environ", "rb") as file:
        given = set(file.read().split(b"\0"))
    return {n: v for n, v in os.environb.items() if n + b"=" + v not in given}


def _set_environment(env: Dict[bytes, bytes]) -> None:
    for name in [name for name in os.environb if name not in env]:
        del os.environb[name]
    for name, value in env.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _die_with_parent() -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    except (ImportError, OSError):
        pass  # JPY_PARENT_PID has to do


def _set_title(argv: List[bytes]) -> None:
    """Have `ps` and others show the command of a new process.

    The words of the fork server's own are long enough (`STUB`) to be written over.
    """
    title = b" ".join(argv) + b"\0"
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if len(title) < end - start:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:
                memory.seek(start)
                # A last byte that is not zero tells Linux that it is one title, up to its zero.
                memory.write(title.ljust(end - start - 1, b"\0") + b"-")
    except (OSError, IndexError, ValueError):
        pass  # it is for people


def _forget_the_past() -> None:
    """What modules have taken down at import, of the process that it was. (`random` seeds itself
    anew in each fork.)"""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.ORIGINAL_DIR = os.path.abspath(os.getcwd())
        config = process.current_process()._config
        config["authkey"] = process.AuthenticationString(os.urandom(32))
    logging: Any = sys.modules.get("logging")
    if logging is not None:
        is_float = isinstance(logging._startTime, float)
        logging._startTime = time.time() if is_float else time.time_ns()
    threading: Any = sys.modules.get("threading")
    if hasattr(threading, "_counter"):
        import itertools

        threading._counter = itertools.count(1).__next__  # the thread of the imports had a number
    debugger_log: Any = sys.modules.get("_pydevd_bundle._debug_adapter.pydevd_schema_log")
    if debugger_log is not None:
        debugger_log._pid = os.getpid()


def _roots() -> Set[str]:
    """Where installing or removing something shows: directories, and files read at the start."""
    found = {path for path in sys.path if path}
    for path in list(found):
        try:
            found.update(os.path.join(path, n) for n in os.listdir(path) if n.endswith(".pth"))
        except OSError:
            pass
    for name in ("sitecustomize", "usercustomize"):
        found.add(getattr(sys.modules.get(name), "__file__", None) or sys.executable)
    return found


def _folders() -> Set[str]:
    """Where the modules are that were imported."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {os.path.dirname(file) for file in files if file}


def _stamps(paths: Set[str]) -> Stamps:
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> Optional[Tuple[int, int, int]]:
    """What changes with a file, or with the names in a directory; None where it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _write(path: str, record: Dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(record))
    os.replace(temporary, path)


def _remove(record_path: str, directory: str) -> None:
    """Leave nothing; the record only where it is still this one's."""
    try:
        with open(record_path) as file:
            if json.load(file).get("directory") == directory:
                os.unlink(record_path)
    except (OSError, ValueError):
        pass
    try:
        os.unlink(record_path + ".lock")
    except OSError:
        pass
    try:
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
    except OSError:
        pass
