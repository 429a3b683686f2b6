"""An allocation's holder: the program of ours that is the scheduler's job. Python 3.8, by itself.

What runs inside an allocation by the scheduler's own command (srun) ends with that command, and
all that it has started. So what is to stay is started by this program, which lives as long as the
allocation does: the script ENTER hands it a command and its own stdin, stdout and stderr.

Called as `holder.py IDLE ID DIRECTORY`. It writes DIRECTORY/ID, which is called as `ID COMMAND…`
on this machine and ends as the command does. After IDLE seconds in which nothing that was started
by it runs, it ends, and with it the allocation.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import shlex
import signal
import socket
import struct
import sys
import tempfile
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

#: What the script runs: connects, hands over its files, waits for the exit status.
ENTER = """
import array,json,os,socket,struct,sys
s=socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
u=struct.unpack("3i",s.getsockopt(socket.SOL_SOCKET,socket.SO_PEERCRED,12))[1]
u==os.getuid() or sys.exit("the holder is not mine")
f=array.array("i",[0,1,2])
d=json.dumps(sys.argv[2:]).encode()+b"\\n"
n=s.sendmsg([d],[(socket.SOL_SOCKET,socket.SCM_RIGHTS,f)])
n<len(d) and s.sendall(d[n:])
r=s.recv(9)
sys.exit(int(r) if r else 1)
"""

#: Bytes of a command at most.
LONGEST = 1 << 20

PR_SET_CHILD_SUBREAPER = 36


class Holder:
    """Starts what it is handed, and knows whether any of it still runs."""

    def __init__(self, idle: float, path: str) -> None:
        self.idle = idle
        self.path = path
        self.ending = False
        self.commands: dict[int, socket.socket] = {}
        self.directory = tempfile.mkdtemp(prefix="sshpyk-", dir="/tmp")  # 0700
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, "holder"))
        self.listener.listen(128)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        self.wake = wake
        signal.set_wakeup_fd(wake.fileno())
        self.selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(4096))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.stop)
        # What runs on when its parent has ended becomes our child, so that we know of it.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self) -> None:
        """Until nothing has run here for long enough, or the scheduler says so."""
        self.write_script()
        try:
            free_since = time.monotonic()
            while True:
                has_children = self.reap()
                now = time.monotonic()
                if has_children:
                    free_since = now
                elif self.ending or now - free_since >= self.idle:
                    break
                left = None if has_children else free_since + self.idle - now
                for key, _ in self.selector.select(left):
                    key.data()
        finally:
            for path in (self.path, os.path.join(self.directory, "holder")):
                if os.path.exists(path):
                    os.unlink(path)
            os.rmdir(self.directory)

    def write_script(self) -> None:
        """Say how to get in; it is whole when it is there."""
        words = [sys.executable, "-I", "-S", "-c", ENTER, os.path.join(self.directory, "holder")]
        text = "#!/bin/sh\nexec " + " ".join(map(shlex.quote, words)) + ' "$@"\n'
        with open(self.path + ".new", "w") as file:
            os.fchmod(file.fileno(), 0o700)
            file.write(text)
        os.rename(self.path + ".new", self.path)

    def stop(self, *_: object) -> None:
        """The scheduler ends the allocation: tell all that we have started."""
        self.ending = True
        for pid in children():
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                pass

    def reap(self) -> bool:
        """Take the exit statuses that there are; whether any process of ours is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            asker = self.commands.pop(pid, None)
            if asker is not None:
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                try:
                    asker.sendall(b"%d\n" % code)
                except OSError:
                    pass
                self.forget(asker)

    def accept(self) -> None:
        """Somebody wants something to be run; nobody but our user does."""
        asker, _ = self.listener.accept()
        credentials = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", credentials)[1] != os.getuid() or self.ending:
            asker.close()
            return
        asker.settimeout(10)
        files: list[int] = []
        try:
            # Without the flag each command would have them twice, and keep pipes open.
            room, flags = socket.CMSG_SPACE(12), socket.MSG_CMSG_CLOEXEC
            data, ancillary, _, _ = asker.recvmsg(65536, room, flags)
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    files += struct.unpack(f"{len(value) // 4}i", value[: len(value) // 4 * 4])
            while not data.endswith(b"\n") and len(data) < LONGEST:
                more = asker.recv(65536)
                if not more:
                    break
                data += more
            words = json.loads(data.decode())
            if len(files) != 3 or not words:
                raise ValueError("three files and a command")
            self.start(asker, [str(word) for word in words], files)
        except (OSError, ValueError):
            asker.close()
        finally:
            for file in files:
                os.close(file)

    def start(self, asker: socket.socket, words: list[str], files: list[int]) -> None:
        """Start a command for `asker`, which gets its exit status; it ends with `asker`."""
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
                    signal.signal(signum, signal.SIG_DFL)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                os.execvp(words[0], words)
            except OSError as error:
                os.write(2, f"{words[0]}: {error.strerror}\n".encode())
            finally:
                os._exit(127)
        self.commands[pid] = asker

        def hung_up() -> None:
            # It says nothing more, so this is its end: so the scheduler's command has ended.
            self.forget(asker)
            if self.commands.pop(pid, None) is not None:
                try:
                    os.killpg(pid, signal.SIGTERM)
                except OSError:
                    pass

        self.selector.register(asker, selectors.EVENT_READ, hung_up)

    def forget(self, asker: socket.socket) -> None:
        """Let go of a connection."""
        try:
            self.selector.unregister(asker)
        except KeyError:
            pass
        asker.close()


def children() -> list[int]:
    """The processes that are our children; none where the system does not say."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except (OSError, ValueError):
        return []


def main(argv: list[str]) -> None:
    """Be the job."""
    idle, id, directory = argv
    os.umask(0o077)
    os.chdir(os.path.expanduser("~"))
    os.makedirs(directory, 0o700, exist_ok=True)
    if os.stat(directory).st_uid != os.getuid():
        sys.exit(f"{directory} is not mine")
    os.chmod(directory, 0o700)
    Holder(float(idle), os.path.join(directory, id)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
