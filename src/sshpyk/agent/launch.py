"""The job "launch": start a kernel with its agent, and stay until the client has attached.

It gets the launch request, and answers {"listening": ...} when clients can connect to the agent.
Then it reads lines from stdin. "tcp" asks for loopback TCP sockets in place of unix ones, which
some servers refuse to forward; the answer is a second {"listening": ...}. "attached" lets the agent
go on alone; the answer is {"attached": true}. When stdin ends before that, the client has gone or
has given up, and everything is taken back.

Where the request has a "carrier", the session is one from the first answer on: see `session`. Its
end is {"attached": true} there, too.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` without its enums
import errno
import os
import resource

from . import records
from .boot import Failed, answer, read_rest
from .kernel import Kernel, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional


#: Seconds that a launch has beyond the client's own time limit: by then the rest of the files must
#: have arrived, and the client must have confirmed the launch. Where the connection falls silent
#: before that, no kernel may be left.
CONFIRM_WITHIN = 5


#: Open files that a process may have: what an agent and an ipykernel need, and as many as most
#: hosts allow, which we give ourselves where we may.
FEWEST_FILES, USUAL_FILES = 128, 1024


def give_up(*_: object) -> None:
    """What SIGALRM does."""
    raise TimeoutError("the rest of the files did not come")


def run(request: Dict[str, Any]) -> None:
    """Fork the agent, and wait in the foreground, where ssh waits for us, until it lets go.

    Raises `Failed`.
    """
    try:
        raise_file_limit()
        start(request)
    except OSError as error:
        if error.errno == errno.EFBIG:
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            raise Failed("limited", what=f"files of {limit} bytes (ulimit -f)") from None
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise Failed("no-resources", reason=error.strerror) from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            path = error.filename or records.state_directory()
            raise Failed("not-writable", path=path, reason=error.strerror) from None
        raise


def raise_file_limit() -> None:
    """Allow the agent and its kernel as many open files as are usual, where some start-up file or
    the system (macOS: 256) has less.

    Raises `Failed` "limited" where the host forbids even the fewest.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= USUAL_FILES:
        return
    allowed = USUAL_FILES if hard == unlimited else min(hard, USUAL_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < FEWEST_FILES:
        raise Failed("limited", what=f"{allowed} open files (ulimit -n)")


def start(request: Dict[str, Any]) -> None:
    """The agent's life, in a process of its own; its parent exits when it lets go.

    Where the kernel of a session is there already, or the agent of a kernel that is not ours,
    answers {"existing": record, "keys": ...}.
    """
    lock = -1
    is_attached = bool(request["kernel"].get("connection_file"))
    if is_attached or request.get("session"):
        lock = lock_sessions()
        if is_attached:
            record = records.find(request["id"])
        else:
            record = records.find_session(request["session"])
        if record is not None:
            answer(existing=record, keys=records.keys(record))
            return
    waiting, attached = os.pipe()
    if os.fork():
        os.close(attached)
        if lock >= 0:
            os.close(lock)
        os._exit(0 if os.read(waiting, 1) else 1)
    os.close(waiting)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    umask = os.umask(0o077)
    directory = records.make_directory(request["id"])
    sockets = ""
    kernel: Optional[Kernel] = None
    try:
        sockets = records.make_sockets_directory()
        plan = None if is_attached else Plan(request["kernel"], directory, sockets)
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(int(request.get("launch_timeout") or 0) + CONFIRM_WITHIN)
        if plan is None:
            read_rest()
            from .attached import AttachedKernel

            kernel = AttachedKernel(request["kernel"], directory, sockets)
        elif plan.fork_server and records.has_forks():
            read_rest()
            from .forking import ForkedKernel

            kernel = ForkedKernel(plan, umask)
        else:
            kernel = Kernel(plan, umask)
            read_rest()  # while the kernel starts up
        signal.alarm(0)
        from .serve import Agent

        kernel.confirm()
        within = request.get("launch_timeout")
        confirm_within = None if within is None else within + CONFIRM_WITHIN
        agent = Agent(request, kernel, umask, attached, confirm_within)
        if lock >= 0:
            os.close(lock)  # its record is there to be found
    except BaseException:
        signal.alarm(0)  # nothing may cut off what follows
        if kernel is not None:
            if kernel.exited is None:
                kernel.kill()
            kernel.close()  # on NFS a directory with open files stays
        if sockets:
            records.remove(sockets)
        records.remove(directory)
        raise
    agent.run()


def lock_sessions() -> int:
    """Wait until no other launch of a session is between looking and being found; what to close.

    Raises `Failed` and OSError.
    """
    import fcntl

    state = records.state_directory()
    os.makedirs(state, 0o700, exist_ok=True)
    records.require_private(state)
    lock = os.open(state, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
