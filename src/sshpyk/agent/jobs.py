"""Jobs about the kernels of this user on this host: list them, read their logs, end them.

Each gets {"do": NAME, ...} and answers as the functions here say.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from ..common import processes
from . import records
from .boot import Failed, answer
from .outputs import FILE as OUTPUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .records import Record

#: Seconds that an agent has to say how its kernel is, and to end it.
ANSWER_WITHIN = 2.0
END_WITHIN = 10.0

#: Seconds over which the processor's use is measured, and between looks at a log that grows.
SAMPLE = 0.2
LOOK = 0.2

CHUNK = 64 * 1024  # bytes


def run(request: Dict[str, Any]) -> None:
    """Do one of the jobs."""
    records.sweep()
    JOBS[request["do"]](request)


def kernels(request: Dict[str, Any]) -> None:
    """Answers {"host", "now", "kernels": [...], "ended": [...]}.

    "kernels" are records without their tokens, and with "status", what the agent says (None where
    it does not answer), and "use", what the kernel's processes use.
    """
    found = records.all_records()
    before = usage()
    time.sleep(SAMPLE if found else 0)
    after = usage()
    for record in found:
        record.pop("token", None)
        here = record.get("host") == processes.host_name()
        record["status"] = status(record) if here else None
        pid = record["kernel"]["pid"]
        is_known = here and not records.is_elsewhere(record)
        record["use"] = use(before.get(pid), after.get(pid)) if is_known else None
    answer(host=processes.host_name(), now=time.time(), kernels=found, ended=records.all_ended())


def attach(request: Dict[str, Any]) -> None:
    """Answers {"record", "keys"}: all that a client needs to attach to the kernel `id`."""
    record = find(request["id"])
    answer(record=record, keys=records.keys(record))


def stop(request: Dict[str, Any]) -> None:
    """End the kernel `id` and its agent; answers {"stopped": whether it has ended by now}."""
    record = find(request["id"], here=True)
    pid = records.agent_pid(record)
    if pid is None:
        node = f"{record['host']}, in another container"
        raise Failed("other-node", id=record["id"], node=node)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + END_WITHIN
    while records.is_alive(record) and time.monotonic() < deadline:
        time.sleep(0.02)
    answer(stopped=not records.is_alive(record))


def interrupt(request: Dict[str, Any]) -> None:
    """Interrupt the kernel `id`; answers {"done": False} where that takes a client.

    It does for kernels that want a message, and where it is not certain that its process is the
    one with that pid.
    """
    record = find(request["id"], here=True)
    kernel = record["kernel"]
    done = kernel["interrupt_mode"] != "message"
    if done and kernel["exited"] is None:
        agent = records.agent_pid(record)
        began = record.get("forked")  # then a reporter is its parent (`forkserver`)
        is_its = processes.start_time(kernel["pid"]) == began if began else None
        done = agent is not None and (is_its or processes.parent(kernel["pid"]) == agent)
        if done:
            os.killpg(kernel["pid"], signal.SIGINT)
    answer(done=done)


def logs(request: Dict[str, Any]) -> None:
    """Answers {"file", "data"} for each piece of the files `files` of the kernel `id`, then
    {"end": True}. "data" is the bytes as Latin-1. With `follow` the end comes when the kernel, or
    stdin, has ended."""
    id = request["id"]
    ended = records.read_ended(id)
    if ended is not None:
        tail([os.path.join(records.state_directory(), f"{id}.{name}") for name in request["files"]])
    else:
        record = find(id)
        directory = os.path.join(records.state_directory(), str(record["id"]))
        at = tail([os.path.join(directory, name) for name in request["files"]])
        while request["follow"] and records.is_alive(record) and not stdin_ended(LOOK):
            at = tail(list(at), at)
    answer(end=True)


def resolve(request: Dict[str, Any]) -> None:
    """Answers {"path"}: the absolute path of "path" for a process in "cwd"; None if it is not
    there."""
    path = os.path.normpath(os.path.join(request["cwd"], os.path.expanduser(request["path"])))
    answer(path=path if os.path.exists(path) else None)


def tail(paths: List[str], at: Optional[Dict[str, Tuple[int, int]]] = None) -> Dict[str, Any]:
    """Answer with what is new in files since `at`; returns how far each was read: inode, offset."""
    places: Dict[str, Tuple[int, int]] = {}
    for path in paths:
        inode, offset = (at or {}).get(path, (0, 0))
        pieces = [path] if at and offset else [path + ".1", path]
        places[path] = (inode, offset)
        for piece in pieces:
            try:
                with open(piece, "rb") as file:
                    own = os.fstat(file.fileno()).st_ino
                    file.seek(offset if own == inode else 0)
                    while True:
                        data = file.read(CHUNK)
                        if not data:
                            break
                        answer(file=os.path.basename(path), data=data.decode("latin-1"))
                    places[path] = (own, file.tell())
            except OSError:
                continue
    return places


def stdin_ended(patience: float) -> bool:
    """Whether the client has gone, within `patience` seconds."""
    ready, _, _ = select.select([0], [], [], patience)
    return bool(ready) and not os.read(0, 4096)


def find(id: str, here: bool = False) -> Record:
    """The record of a kernel that is there; `here`: on this very node. Raises `Failed`."""
    id = os.path.basename(id)
    record = records.read(os.path.join(records.state_directory(), id, records.RECORD))
    if record is None or records.is_alive(record) is False:
        ended = records.read_ended(id)
        raise Failed("no-kernel", id=id, why=str(ended["why"]) if ended else "it is not known")
    if here and record["host"] != processes.host_name():
        raise Failed("other-node", id=id, node=record["host"])
    return record


def status(record: Record) -> Optional[Dict[str, Any]]:
    """What the agent of a record says of its kernel now; None where it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWER_WITHIN)
            sock.connect(os.path.join(record["sockets"], records.STATUS))
            data = b""
            while True:
                more = sock.recv(65536)
                if not more:
                    break
                data += more
    except OSError:
        return None
    return records.parse(data)


def usage() -> Dict[int, Tuple[int, float, float]]:
    """What the processes of each session use, by the session's leader: bytes of memory, seconds of
    processor, and when that was."""
    found: Dict[int, Tuple[int, float, float]] = {}
    now = time.monotonic()
    tick = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        session = int(fields[3])
        memory, seconds, _ = found.get(session, (0, 0.0, 0.0))
        memory += int(fields[21]) * page
        seconds += (int(fields[11]) + int(fields[12])) / tick
        found[session] = (memory, seconds, now)
    return found


def use(before: Any, after: Any) -> Optional[Dict[str, float]]:
    """{"memory": bytes, "cpu": share of one processor now, "cpu_seconds": in all}, if known."""
    if before is None or after is None:
        return None
    share = max(0.0, after[1] - before[1]) / max(0.001, after[2] - before[2])
    return {"memory": after[0], "cpu": share, "cpu_seconds": after[1]}


JOBS = {
    "kernels": kernels,
    "attach": attach,
    "stop": stop,
    "interrupt": interrupt,
    "logs": logs,
    "resolve": resolve,
}

#: The files that "logs" may be asked for.
FILES = ("kernel.log", "agent.log", OUTPUTS)
