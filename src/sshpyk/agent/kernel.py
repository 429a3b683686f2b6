"""The kernel's process: how it is started, signalled and seen to end."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import errno
import os
import sys
import time

from ..wire.channels import CHANNELS
from ..wire.quickjson import dumps
from .boot import Failed
from .kernelspecs import KernelSpec, expand, fill, find, prefix
from .records import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple, Union

    from ..common.sockets import Socket

    Address = Union[str, Tuple[str, int]]

#: Bytes of the kernel's last stderr that go into an error message.
TAIL = 4096

#: Bytes of the kernel's log before it begins anew (the one before is kept).
LOG_SIZE = 4 * 1024 * 1024

SETUP_FAILED = 97


class Plan:
    """How to start a kernel. Everything that can be wrong is found here, before any process starts.

    `request` is the "kernel" object of a launch request, `directory` the kernel's own directory and
    `sockets` that of its sockets. Raises `Failed`.
    """

    def __init__(self, request: Dict[str, Any], directory: str, sockets: str) -> None:
        self.directory = directory
        self.sockets = sockets
        base = dict(os.environ)
        original = base.pop("SSHPYK_PYTHONHOME", None)
        if original is not None:
            # The client lent PYTHONHOME to the Python that runs us; the kernel gets its own back.
            base.pop("PYTHONHOME", None)
            if original:
                base["PYTHONHOME"] = original
        self.spec = self._find_spec(request, base)
        self.cwd = self._find_cwd(request)
        self.env = self._make_env(request, base)
        self.setup: List[str] = request["setup"]
        self.login_shell: bool = request["login_shell"]
        self.is_ipc = any("ipykernel" in word for word in self.spec.argv)
        self.is_kernel = bool(request.get("is_kernel", True))
        self.fork_server = bool(request.get("fork_server"))
        self.curve = self.spec.supports_curve and bool(request.get("curve_publickey"))
        self._request = request
        self.connection_file = os.path.join(directory, "connection.json")
        self.addresses: Dict[str, Address] = {}

    def _find_spec(self, request: Dict[str, Any], base: Dict[str, str]) -> KernelSpec:
        if request.get("spec"):
            return KernelSpec(request["kernel_name"], "", request["spec"])
        return find(request["kernel_name"], base)

    def _find_cwd(self, request: Dict[str, Any]) -> str:
        wanted = request.get("remote_cwd")
        if wanted:
            path = os.path.join(home(), os.path.expanduser(os.path.expandvars(wanted)))
            if not os.path.isdir(path) or not os.access(path, os.X_OK):
                raise Failed("no-directory", path=path)
            return path
        for name in request["cwd"]:
            path = os.path.join(home(), name)
            if os.path.isdir(path) and os.access(path, os.X_OK):
                return path
        return home() if os.path.isdir(home()) else "/"

    def _make_env(self, request: Dict[str, Any], base: Dict[str, str]) -> Dict[str, str]:
        env = dict(base)
        fallback = request["local_env"]
        for templates in (self.spec.env, request["env"]):
            env.update({k: expand(v, env, fallback) for k, v in templates.items()})
        env.update(request["literal_env"])
        if request.get("pythonhome"):
            env["PYTHONHOME"] = request["pythonhome"]
        env["JPY_PARENT_PID"] = str(os.getpid())
        # Python refuses to start with another's; jupyter_client takes it out as well.
        env.pop("PYTHONEXECUTABLE", None)
        return env

    def write_connection_file(self) -> None:
        """Choose the kernel's addresses and write its connection file, for the owner only.

        A program that is no kernel has none.
        """
        if not self.is_kernel:
            return
        connection: Dict[str, Any] = {
            "key": self._request["key"],
            "signature_scheme": self._request["signature_scheme"],
            "kernel_name": self.spec.name,
        }
        if self.curve:
            connection["curve_publickey"] = self._request["curve_publickey"]
            connection["curve_secretkey"] = self._request["curve_secretkey"]
        if self.is_ipc:
            base = os.path.join(self.sockets, "kernel")
            connection.update(transport="ipc", ip=base)
            for number, channel in enumerate(CHANNELS, 1):
                connection[channel + "_port"] = number
                self.addresses[channel] = f"{base}-{number}"
        else:
            connection.update(transport="tcp", ip="127.0.0.1")
            for channel, port in zip(CHANNELS, free_ports(len(CHANNELS))):  # noqa: B905  # strict= is 3.10's
                connection[channel + "_port"] = port
                self.addresses[channel] = ("127.0.0.1", port)
        for address in self.addresses.values():
            if isinstance(address, str) and os.path.lexists(address):
                os.unlink(address)  # of the process before
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        with open(os.open(self.connection_file, flags, 0o600), "w") as file:
            file.write(dumps(connection))

    @property
    def argv(self) -> List[str]:
        """The command, with the shell around it where there are lines to run before it."""
        words = list(self.spec.argv)
        is_own_python = words[0] in ("python", "python3", f"python3.{sys.version_info[1]}")
        if is_own_python and not (self.setup or self.login_shell):
            words[0] = sys.executable
        values = {"connection_file": self.connection_file, "resource_dir": self.spec.directory}
        words = fill(words, dict(values, prefix=prefix()))
        words += self._request["extra_arguments"]
        if not (self.setup or self.login_shell):
            return words
        script = 'exec "$@"'
        if is_own_python:
            script = self._choose_python(words[0]) + script
        if self.setup:
            failed = f"echo 'sshpyk: the setup lines failed' >&2; exit {SETUP_FAILED};"
            script = "{\n" + "\n".join(self.setup) + "\n} || { " + failed + " }\n" + script
        login = ["-l"] if self.login_shell else []
        return [find_shell(self.env), *login, "-c", script, "sshpyk", *words]

    def _choose_python(self, name: str) -> str:
        """A line of shell: the Python that setup lines or the profile have brought, else ours."""
        before = ""
        for directory in self.env.get("PATH", "").split(os.pathsep):
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                before = path
                break
        is_ours = f'[ -z "$found" ] || [ "$found" = {quote(before)} ]'
        ours = f'{{ shift; set -- {quote(sys.executable)} "$@"; }}'
        return f"found=$(command -v {name}); if {is_ours}; then {ours}; fi\n"


def quote(text: str) -> str:
    """`text` as one word for sh."""
    return "'" + text.replace("'", "'\\''") + "'"


def find_shell(env: Dict[str, str]) -> str:
    """The user's shell where it speaks sh's language, else bash, else sh."""
    own = env.get("SHELL", "")
    if os.path.basename(own) in ("bash", "zsh", "ksh") and os.access(own, os.X_OK):
        return own
    for path in ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"):
        if os.access(path, os.X_OK):
            return path
    return "/bin/sh"


def free_ports(count: int) -> List[int]:
    """So many loopback ports that are free now. Another program may take one before the kernel
    does: then the kernel says so, and the launch fails with its words.

    They are below the range from which the system gives ports to connections. Of those there is
    always one that begins in the seconds until the kernel binds; even our own looking for the
    kernel is one, which may get the very port that it looks at and then finds itself.
    """
    sockets: List[Socket] = []
    try:
        while len(sockets) < count:
            one = open_socket(("127.0.0.1", 0))
            sockets.append(one)
            try:
                one.bind(("127.0.0.1", 10000 + int.from_bytes(os.urandom(4), "big") % 22000))
            except OSError:
                sockets.pop().close()
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Kernel:
    """One process of a kernel: made started, and never started again."""

    #: The most memory that it has used, in bytes, once it has ended; None where nobody can tell.
    peak: Optional[int] = None

    #: What tells of the process's end where it is not this one's child (`forking.ForkedKernel`).
    report: Any = None

    def __init__(self, plan: Plan, umask: int) -> None:
        self.plan = plan
        self.bound = False
        self.exited: Optional[Dict[str, Any]] = None
        self.started_at = time.time()
        self.begun = time.monotonic()
        plan.write_connection_file()
        self.argv = plan.argv
        self.umask = umask
        self._found: Set[str] = set()  # the channels whose sockets are there
        self._tails: Dict[int, bytes] = {}
        self.log = Log(os.path.join(plan.directory, "kernel.log"))
        opened: List[int] = []
        try:
            for _ in range(3):
                opened += os.pipe()
            self.output, output, self.errors, errors, self._executed, executed = opened
            self.pid = self._make_process(output, errors, executed)
        except BaseException:
            # A restart that fails leaves the agent where it was, and may fail again and again.
            for fd in opened:
                os.close(fd)
            self.log.close()
            raise
        for fd in (output, errors, executed):
            os.close(fd)
        os.set_blocking(self.output, False)
        os.set_blocking(self.errors, False)

    def _make_process(self, output: int, errors: int, executed: int) -> int:
        pid = os.fork()
        if pid == 0:
            plan = self.plan
            _become(self.argv, plan.env, plan.cwd, self.umask, output, errors, executed)
        return pid

    def confirm(self) -> None:
        """Wait until the program runs.

        Raises `Failed` "program-missing" where the system refused to run it.
        """
        with open(self._executed, "rb") as pipe:
            problem = pipe.read()
        if problem:
            os.waitpid(self.pid, 0)
            self.exited = {}
            self.close()
            reason = os.strerror(int(problem))
            name = self.plan.spec.name
            raise Failed("program-missing", program=self.argv[0], reason=reason, kernel=name)

    def check_bound(self) -> bool:
        """Whether all five sockets are there."""
        if not self.bound:
            for channel, address in self.plan.addresses.items():
                # Each is found once: a kernel that was stopped would not take the connections of
                # those who ask for ever.
                if channel not in self._found and _is_there(address):
                    self._found.add(channel)
            self.bound = len(self._found) == len(self.plan.addresses)
        return self.bound

    def is_there(self) -> bool:
        """Whether something listens at all five addresses now."""
        return all(map(_is_there, self.plan.addresses.values()))

    @property
    def pipes(self) -> Tuple[int, ...]:
        """What its output is read from."""
        return (self.output, self.errors)

    @property
    def next_look(self) -> Optional[float]:
        """When `reap` has something to look at that no event tells, by `time.monotonic`."""
        return None

    def doubt(self) -> None:
        """It has closed a connection, so it may have ended; for a child its end tells that."""

    def lose_sockets(self) -> None:
        """One of its sockets is not there any more: it is about to exit."""
        self.bound = False
        self._found.clear()

    def signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group; nothing happens where it is gone."""
        try:
            os.killpg(self.pid, signum)
        except OSError as error:
            # macOS says EPERM of a group that has only zombies.
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise

    def reap(self) -> bool:
        """Whether the process has ended by now; `exited` then says how."""
        if self.exited is None:
            status = self._wait(os.WNOHANG)
            if status is not None:
                self.read(self.output)
                self.read(self.errors)
                self.exited = self._describe(status)
                # What it leaves in its group would hold its memory, or a GPU's, for nobody.
                self.signal(signal.SIGTERM)
        return self.exited is not None

    def kill(self) -> None:
        """Kill the process, and wait for that."""
        self.signal(signal.SIGKILL)
        os.kill(self.pid, signal.SIGKILL)  # it may not have its own group yet
        self._wait(0)

    def _wait(self, options: int) -> Optional[int]:
        pid, status, used = os.wait4(self.pid, options)
        if not pid:
            return None
        # Linux tells the peak in kilobytes, macOS in bytes.
        self.peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return status

    def _describe(self, status: int) -> Dict[str, Any]:
        signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        note = "the setup lines failed" if code == SETUP_FAILED else ""
        tail = self._tails.get(self.errors) or self._tails.get(self.output) or b""
        stderr = tail.decode("utf-8", "replace")
        exited = {"pid": self.pid, "code": code, "signum": signum, "stderr": stderr}
        return {**exited, "note": note, "peak": self.peak}

    def read(self, fd: int) -> bool:
        """Take what came through `output` or `errors` into the log; False at its end."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return True
        self.log.write(data)
        self._tails[fd] = (self._tails.get(fd, b"") + data)[-TAIL:]
        return bool(data)

    def close(self) -> None:
        """Close its pipes and its log."""
        for fd in (self.output, self.errors):
            if fd >= 0:
                os.close(fd)
        self.output = self.errors = -1
        self.log.close()


def _become(
    argv: List[str],
    env: Dict[str, str],
    cwd: str,
    umask: int,
    output: int,
    errors: int,
    executed: int,
) -> None:
    """In the child: become the kernel, or say why not and exit. Never returns."""
    try:
        os.setsid()
        _die_with_parent()
        if str(os.getppid()) != env["JPY_PARENT_PID"]:
            return  # the agent has ended just before
        # What the agent or its Python ignores; `subprocess` gives the same ones back.
        ignored = signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGXFSZ
        for signum in ignored:
            signal.signal(signum, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.umask(umask)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(executed, str(error.errno or 1).encode("ascii"))
    finally:
        os._exit(127)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the agent ends; elsewhere JPY_PARENT_PID has to do.

    Called in the child only: in the agent ctypes would stay in memory.
    """
    if sys.platform != "linux":
        return
    wish = 1, int(signal.SIGKILL)  # PR_SET_PDEATHSIG
    try:
        from _ctypes import call_function, dlopen, dlsym

        program: Any = None  # this one
        call_function(dlsym(dlopen(program, 0), "prctl"), wish)
    except (ImportError, OSError):
        import ctypes

        ctypes.CDLL(None).prctl(*wish)


def _is_there(address: Address) -> bool:
    # The file alone would not do: a kernel that exits closes its sockets and leaves the files.
    try:
        probe, is_connected = connect(address)
    except BlockingIOError:
        return True  # so many wait there that nobody else can
    except OSError:
        return False
    with probe:
        if isinstance(address, str):
            return True
        from ..common.peers import is_taken

        # Another user may have been quicker to take the port; the kernel will say so, and end.
        return is_connected and probe.getsockname() != address and not is_taken(address)


def open_socket(address: Address) -> Socket:
    """A socket of the family of `address`."""
    from _socket import AF_INET, AF_INET6, AF_UNIX

    from ..common.sockets import Socket

    if isinstance(address, str):
        return Socket(AF_UNIX)
    return Socket(AF_INET6 if ":" in address[0] else AF_INET)


def connect(address: Address) -> Tuple[Socket, bool]:
    """A socket for `address`, and whether it is connected; if not, it is writable when it is, or
    has failed. This never waits: a kernel that was stopped takes no connection.

    Raises BlockingIOError where so many wait there that this one can't, for now, and another
    OSError where nobody listens.
    """
    sock = open_socket(address)
    try:
        sock.setblocking(False)
        problem = sock.connect_ex(address)
        is_connected = problem != errno.EINPROGRESS
        if not is_connected:
            # On loopback it is decided by now, but for a queue that is full.
            import select
            from _socket import SO_ERROR, SOL_SOCKET

            poll = select.poll()
            poll.register(sock.fileno(), select.POLLOUT)
            is_connected = bool(poll.poll(0))
            problem = sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
    except OSError:
        sock.close()
        raise
    return sock, is_connected


class Log:
    """A file that is appended to, and set aside as NAME.1 when it has `limit` bytes."""

    def __init__(self, path: str, limit: int = LOG_SIZE) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def _open(self) -> None:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        file = os.open(self._path, flags, 0o600)
        try:
            self._size = os.fstat(file).st_size
        except OSError:
            os.close(file)
            raise
        self._file = file

    def write(self, data: bytes) -> None:
        """Append; a disk that is full loses log lines and nothing else."""
        if self._file < 0:
            return
        try:
            if self._size <= 2 * self._limit:  # where it can't be set aside it ends there
                self._size += os.write(self._file, data)
            if self._size > self._limit:
                self._set_aside()
        except OSError:
            pass

    def _set_aside(self) -> None:
        """Begin a new file. Where that fails the old one stays open, and this is tried again."""
        try:
            os.replace(self._path, self._path + ".1")
        except FileNotFoundError:
            pass  # the last time it got so far, or somebody has removed it
        before = self._file
        self._open()
        os.close(before)

    def line(self, text: str) -> None:
        """Append a line with the time before it."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.write(f"{stamp} {text}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        """Close the file; what is written from now on is lost."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
