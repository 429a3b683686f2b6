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
from .usage import Meter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from .records import Record

#: Seconds that an agent has to say how its kernel is, and to end it.
ANSWER_WITHIN = 2.0
END_WITHIN = 10.0

#: Seconds between looks at a log that grows.
LOOK = 0.2

#: Seconds between two looks at what kernels use, where a look takes long.
SELDOM = 10.0

CHUNK = 64 * 1024  # bytes


def run(request: Dict[str, Any]) -> None:
    """Do one of the jobs."""
    records.sweep()
    JOBS[request["do"]](request)


def kernels(request: Dict[str, Any]) -> None:
    """Answers {"host", "now", "kernels": [...], "ended": [...]}.

    "kernels" are records without their tokens, and with "status", what the agent says (None where
    it does not answer). Where "use" is asked for, they have what the kernel's processes use, and
    the answer has "machine" and "gpus" (`usage.Meter`).
    """
    answer(**look(Meter() if request["use"] else None))


def watch(request: Dict[str, Any]) -> None:
    """The answer of `kernels`, with what they use, each `every` seconds until stdin has ended."""
    meter = Meter()
    while True:
        answer(**look(meter))
        # Where there is much to read it is read less often: a tenth of a processor is enough.
        if stdin_ended(max(request["every"], min(10 * meter.cost, SELDOM))):
            return


def look(meter: Optional[Meter]) -> Dict[str, Any]:
    """How the kernels of this host are, and what they use if there is a `meter`."""
    found = records.all_records()
    here = [record for record in found if record.get("host") == processes.host_name()]
    known = {
        record["id"]: record["kernel"]["pid"]
        for record in here
        if record["kernel"]["exited"] is None and not records.is_elsewhere(record)
    }
    measured = meter.measure(list(known.values())) if meter else {}
    uses = measured.pop("uses", {})
    for record in found:
        record.pop("token", None)
        record["status"] = status(record) if record in here else None
        record["use"] = uses.get(known.get(record["id"]))
    ended = records.all_ended()
    return dict(measured, host=processes.host_name(), now=time.time(), kernels=found, ended=ended)


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


JOBS = {
    "kernels": kernels,
    "watch": watch,
    "attach": attach,
    "stop": stop,
    "interrupt": interrupt,
    "logs": logs,
    "resolve": resolve,
}

#: The files that "logs" may be asked for.
FILES = ("kernel.log", "agent.log", OUTPUTS)
