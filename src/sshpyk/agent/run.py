"""The jobs about runs: the cells of a notebook, one after the other, in a kernel of this host.

"run" starts a process, the *runner*, which goes on by itself: it asks the kernel for one cell
after the other, until one raises, and writes what comes of it into a *journal*, of any size. So a
run needs no client, and none can delay it. "runs" tells which journals there are, and "journal"
reads one, while it is written, too.

A journal is ~/.local/state/sshpyk/runs/RUN.jsonl, a line of JSON each, as in `outputs.jsonl`: "at"
(time.time()), and "header", "parent" and "content" of a message that answers one of the run's
requests, or a "mark":

- "run", the first: "run", "kernel", "notebook" (with all its cells), "name", "cells" (the numbers
  of those to run), "allowed" (of those that may raise), "ends" (whether the kernel ends after);
- "cell": the cell with this number is asked for, by the message "request";
- "ran": what became of it, "status";
- "end": of all, "status": "ok"; "error", by the cell "cell", with "ename" and "evalue"; "died",
  where the kernel ended; "stopped", where the runner was told to; "failed", with "text".
"""

from __future__ import annotations

import os
import signal
import time

from ..common import processes
from ..wire.quickjson import dumps
from . import records
from .boot import Failed, answer, describe_defect
from .jobs import CHUNK, LOOK, find, status, stdin_ended
from .loop import READ, Loop
from .outputs import KINDS
from .requester import Requester, parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, NoReturn, Optional

    from .records import Record

JOURNAL = ".jsonl"

#: Seconds for which a journal is kept after its last line.
KEEP = 7 * 24 * 3600.0

#: Seconds before a kernel is asked again whether its output reaches us, and before a disk that is
#: full is written to again.
ASK_AGAIN = 0.5
TRY_AGAIN = 1.0

#: Seconds that what a cell has published may come after the kernel has answered for it; a kernel
#: that never says "idle" must not end a run.
LATE = 10.0

#: Seconds between looks whether somebody is still attached to a kernel that is to end.
WAIT = 5.0

#: Bytes of a journal's first line that are looked at for the list of runs: its facts are in front.
FACTS = 4096


def run(request: Dict[str, Any]) -> None:
    """Do one of the jobs."""
    JOBS[request["do"]](request)


def directory() -> str:
    """Where journals are."""
    return os.path.join(os.path.dirname(records.state_directory()), "runs")


def path_of(id: str) -> str:
    """The journal of a run."""
    return os.path.join(directory(), os.path.basename(id) + JOURNAL)


# -- the runner ------------------------------------------------------------------------------------


def start(request: Dict[str, Any]) -> None:
    """Fork the runner; answers {"run"} when it has a journal and is connected to the kernel.

    Raises `Failed`.
    """
    record = find(request["id"], here=True)
    sweep()
    waiting, ready = os.pipe()
    if os.fork():
        os.close(ready)
        os._exit(0 if os.read(waiting, 1) else 1)
    os.close(waiting)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    kernel = os.path.join(records.state_directory(), os.path.basename(str(record["id"])))
    connection = records.read(os.path.join(kernel, records.CONNECTION)) or {}
    if "curve_publickey" in connection:
        raise Failed("encrypted", name=str(record["kernel"]["name"]))
    try:
        journal = Journal(request["run"])
    except OSError as error:
        path = error.filename or directory()
        raise Failed("not-writable", path=path, reason=error.strerror) from None
    try:
        runner = Runner(request, record, connection, journal)
    except BaseException as error:
        journal.remove()
        if isinstance(error, OSError):
            raise Failed("no-kernel", id=record["id"], why="it takes no connection") from None
        raise
    answer(run=request["run"])
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.write(ready, b"1")
    os.close(ready)
    os.chdir("/")
    runner.run()


class Journal:
    """A file of lines; each is written as a whole, or not at all."""

    def __init__(self, id: str) -> None:
        os.makedirs(directory(), 0o700, exist_ok=True)
        records.require_private(directory())
        self._path = path_of(id)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        self._size = 0

    def write(self, line: bytes) -> bool:
        """Append a line; False where there is no room for it now."""
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            return False
        self._size += len(line)
        return True

    def remove(self) -> None:
        """Take it back."""
        os.close(self._file)
        os.unlink(self._path)


class Runner:
    """Asks for one cell after the other."""

    def __init__(
        self, request: Dict[str, Any], record: Record, connection: Dict[str, Any], journal: Journal
    ) -> None:
        self._record = record
        self._ends_kernel = bool(request["ends"])
        self._journal = journal
        self._waiting: List[bytes] = []  # lines for which there is no room
        self._cells = request["notebook"]["cells"]
        self._left: List[int] = list(request["cells"])
        self._allowed = frozenset(request["allowed"])
        self._requests: Dict[str, int] = {}  # the cells of those that were made
        self._probes: List[str] = []  # msg_ids of the questions whether output reaches us
        self._probe_at: Optional[float] = None
        self._request = ""  # the one that is being answered
        self._reply: Optional[Dict[str, Any]] = None
        self._is_idle = False
        self._give_up_at: Optional[float] = None
        self._has_begun = False
        self._end: Optional[Dict[str, Any]] = None
        facts = {"run": request["run"], "kernel": record["id"], "name": request["name"]}
        facts.update(pid=os.getpid(), start=processes.start_time(os.getpid()) or "")
        facts.update(host=processes.host_name(), session=record.get("session") or "")
        more = {"notebook": request["notebook"], "cells": request["cells"]}
        more.update(allowed=request["allowed"], ends=self._ends_kernel)
        self.loop = Loop(self._tick, self._defect)
        self._requester = Requester(
            self.loop, connection, self._take, self._ready, lambda: self._over(status="died")
        )
        self._mark("run", version=1, **facts, **more)
        if self._waiting:
            raise Failed("not-writable", path=directory(), reason="the disk is full")

    def run(self) -> NoReturn:
        """Until the end of the run; then the end of the process."""
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell)
        signal.signal(signal.SIGTERM, lambda *_: None)  # the pipe tells
        self.loop.watch(told, READ, lambda _: self._stop(told))
        self.loop.run()
        self._requester.close()
        # By another process: the run has ended when this one has.
        if self._ends_kernel and not os.fork():
            self._end_kernel()
        os._exit(0)

    def _stop(self, told: int) -> None:
        """This process was told to end: at once, also where there is no room to say so."""
        self.loop.watch(told, 0, lambda _: None)
        self._over(status="stopped")
        if self._waiting:
            self._signal(signal.SIGCONT)
            self.loop.running = False

    # -- the kernel's answers ----------------------------------------------------------------------

    def _ready(self) -> None:
        self._probe()

    def _probe(self) -> None:
        """Ask something, to see whether our subscription has reached the kernel."""
        self._probes.append(self._requester.ask("kernel_info_request", {}))

    def _take(self, channel: str, header: bytes, parent: bytes, content: bytes) -> None:
        if self._end is not None:
            return
        if channel == "shell":
            self._take_reply(*parsed(header, parent, content))
            return
        if not self._has_begun:
            if b'"status"' in header and parsed(parent)[0].get("msg_id") in self._probes:
                self._has_begun = True
                self._probe_at = None
                self._next()
            return
        is_status = b'"status"' in header
        if not is_status and not any(kind in header for kind in KINDS):
            return
        request = parsed(parent)[0].get("msg_id")
        if request not in self._requests:
            return  # somebody else's
        if not is_status:
            parts = [part.replace(b"\n", b" ") for part in (header, parent, content)]
            line = b'{"at":%.3f,"header":%s,"parent":%s,"content":%s}\n'
            self._write(line % (time.time(), *parts))
        elif request == self._request and b'"idle"' in content:
            self._is_idle = True
            self._see()

    def _take_reply(
        self, header: Dict[str, Any], parent: Dict[str, Any], content: Dict[str, Any]
    ) -> None:
        if header.get("msg_type") == "kernel_info_reply" and not self._has_begun:
            self._probe_at = self.loop.now() + ASK_AGAIN
            self.loop.hurry()
        elif header.get("msg_type") == "execute_reply" and parent.get("msg_id") == self._request:
            self._reply = content
            self._give_up_at = self.loop.now() + LATE
            self.loop.hurry()
            self._see()

    def _see(self) -> None:
        """Go on to the next cell where this one is done."""
        if self._reply is None or not self._is_idle:
            return
        reply, cell = self._reply, self._requests[self._request]
        said = str(reply.get("status"))
        self._mark("ran", cell=cell, status=said)
        if said != "ok" and cell not in self._allowed:
            words = {name: str(reply.get(name, "")) for name in ("ename", "evalue")}
            self._over(status="error", cell=cell, **words)
        else:
            self._next()

    def _next(self) -> None:
        self._reply, self._is_idle, self._give_up_at = None, False, None
        if not self._left:
            self._over(status="ok")
            return
        cell = self._left.pop(0)
        source = self._cells[cell]["source"]
        content = {
            "code": source if isinstance(source, str) else "".join(source),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        self._request = self._requester.ask("execute_request", content)
        self._requests[self._request] = cell
        self._mark("cell", cell=cell, request=self._request)

    def _over(self, **how: Any) -> None:
        if self._end is None:
            self._end = how
            self._mark("end", **how)
            self.loop.hurry()

    def _defect(self) -> None:
        self._over(status="failed", text=describe_defect())

    def _tick(self, now: float) -> Optional[float]:
        if self._probe_at is not None and now >= self._probe_at:
            self._probe_at = None
            self._probe()
        if self._give_up_at is not None and now >= self._give_up_at:
            self._is_idle = True
            self._see()
        if self._waiting:
            return self._try_again(now)
        if self._end is not None:
            self.loop.running = False
        deadlines = [at for at in (self._probe_at, self._give_up_at) if at is not None]
        return min(deadlines) if deadlines else None

    # -- the journal -------------------------------------------------------------------------------

    def _mark(self, mark: str, **fields: Any) -> None:
        line = dumps(dict({"at": time.time(), "mark": mark}, **fields))
        self._write(line.encode("ascii") + b"\n")

    def _write(self, line: bytes) -> None:
        """Write a line, or keep it; then the kernel has to wait, for what it publishes beyond what
        its sockets hold would be lost."""
        if self._waiting or not self._journal.write(line):
            if not self._waiting and self._has_begun:
                self._requester.read(False)
                self._signal(signal.SIGSTOP)
            self._waiting.append(line)
            self.loop.hurry()

    def _try_again(self, now: float) -> float:
        while self._waiting and self._journal.write(self._waiting[0]):
            self._waiting.pop(0)
        if self._waiting:
            return now + TRY_AGAIN
        self._signal(signal.SIGCONT)
        self._requester.read(True)
        return now

    def _signal(self, signum: int) -> None:
        try:
            os.killpg(self._record["kernel"]["pid"], signum)
        except OSError:
            pass  # it has ended

    def _end_kernel(self) -> None:
        """End the kernel, which was started for this run, as soon as nobody is attached to it.

        Who has waited for the run ends it at once; but may have vanished the moment before.
        """
        while True:
            known = status(self._record)
            if known is None:
                return
            pid = records.agent_pid(self._record)
            if not known.get("attached") and pid is not None:
                os.kill(pid, signal.SIGTERM)
                return
            time.sleep(WAIT)


# -- journals --------------------------------------------------------------------------------------


def sweep() -> None:
    """Remove journals that nobody has wanted for a week."""
    for name in names():
        path = os.path.join(directory(), name)
        try:
            if time.time() - os.stat(path).st_mtime > KEEP and not is_written(facts_of(path)):
                os.unlink(path)
        except OSError:
            pass


def names() -> List[str]:
    """The files of journals."""
    try:
        return sorted(name for name in os.listdir(directory()) if name.endswith(JOURNAL))
    except OSError:
        return []


def facts_of(path: str) -> Dict[str, Any]:
    """What the first line of a journal says of the run, without its notebook."""
    try:
        with open(path, "rb") as file:
            line = file.read(FACTS)
    except OSError:
        return {}
    # It is our own writing, with the notebook behind the rest.
    head, found, _ = line.partition(b', "notebook": ')
    return parsed(head + b"}")[0] if found else {}


def is_written(facts: Dict[str, Any]) -> bool:
    """Whether a run's runner lives, as far as this machine knows."""
    if facts.get("host") != processes.host_name():
        return False
    now = processes.start_time(int(facts.get("pid") or 0))
    return bool(now) and now == facts.get("start")


def runs(request: Dict[str, Any]) -> None:
    """Answers {"runs": [...]}: of each {"run", "kernel", "session", "name", "at", "goes_on"}."""
    sweep()
    found = []
    for name in names():
        facts = facts_of(os.path.join(directory(), name))
        if facts:
            kept = {key: facts.get(key) for key in ("run", "kernel", "session", "name", "at")}
            found.append(dict(kept, goes_on=is_written(facts)))
    answer(runs=found)


def journal(request: Dict[str, Any]) -> None:
    """Answers {"data"} for each piece of the journal of the run `run` from the byte `offset` on,
    as Latin-1, then {"end", "goes_on"}; with `follow` not before the run, or stdin, has ended.
    """
    path = path_of(request["run"])
    facts = facts_of(path)
    if not facts:
        raise Failed("no-run", id=request["run"])
    with open(path, "rb") as file:
        file.seek(request["offset"])
        while True:
            goes_on = is_written(facts)  # before the last look: what it wrote by then is there
            while True:
                data = file.read(CHUNK)
                if not data:
                    break
                answer(data=data.decode("latin-1"))
            if not (request["follow"] and goes_on) or stdin_ended(LOOK):
                break
    answer(end=True, goes_on=goes_on)


def forget(request: Dict[str, Any]) -> None:
    """Remove the journal of the run `run`; answers {"forgotten": true}."""
    try:
        os.unlink(path_of(request["run"]))
    except OSError:
        pass
    answer(forgotten=True)


JOBS = {"run": start, "runs": runs, "journal": journal, "forget": forget}
