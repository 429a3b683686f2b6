"""What a host answers, looked at once, on arrival: it may be hostile, or its files broken.

`SHAPES` has what each job may answer, in the terms of `sshpyk.wire.shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..wire.channels import AGENT, CHANNELS
from ..wire.exits import CAUSE, amount
from ..wire.shapes import fault

#: Characters of a path, and of other texts that stand in one line.
LONGEST = 4096

#: What may be a machine's name: nothing that a shell would obey where a ProxyCommand gets it.
NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")

#: What may be the path of a socket. No colon, which ssh would take for the end of a forward's part.
SOCKET = re.compile(r"/[^:\s\x00-\x1f\x7f]{1,106}")

NUMBER = (int, float)
MAYBE_NUMBER = (int, type(None))


def line(value: object) -> str:
    """A shape: a text that is not too long for one line."""
    return "" if isinstance(value, str) and len(value) <= LONGEST else "is no short text"


def word(value: object) -> str:
    """A shape: a text with something in it."""
    return "" if isinstance(value, str) and value else "is no word"


def id(value: object) -> str:
    """A shape: a kernel's id, of which the names of files are made."""
    is_id = isinstance(value, str) and re.fullmatch(r"[\w-]{1,64}", value)
    return "" if is_id else f"is {value!r:.80}, which is no id"


def words(value: object) -> str:
    """A shape: a list of texts, at least one."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ""
    return "is no list of words"


def ascii_text(value: object) -> str:
    """A shape: a key or a token."""
    return "" if isinstance(value, str) and value.isascii() else "is no key"


def hexadecimal(value: object) -> str:
    """A shape: bytes in hexadecimal digits."""
    is_text = isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{2})*", value)
    return "" if is_text else "is no bytes"


def figure(value: object) -> str:
    """A shape: a number of bytes, seconds, or of anything that there can be so much of."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "" if is_number and 0 <= value < 1e18 else "is no figure"  # type: ignore[operator]  # it is a number here


def moment(value: object) -> str:
    """A shape: a time in seconds since 1970."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return "" if is_number and 0 <= value < 1e11 else "is no time"  # type: ignore[operator]  # it is a number here


def node(value: object) -> str:
    """A shape: a machine's own name."""
    if isinstance(value, str) and NODE.fullmatch(value):
        return ""
    return f"is {value!r:.80}, which no machine is called"


def address(value: object) -> str:
    """A shape: where one socket listens, a path or a port of loopback."""
    is_port = type(value) is int and 0 < value < 65536
    if is_port or (isinstance(value, str) and SOCKET.fullmatch(value)):
        return ""
    return f"is {value!r:.80}, where nothing can listen"


LISTENING = dict.fromkeys((*CHANNELS, AGENT), address)

EXIT = {
    "pid": int,
    "code": MAYBE_NUMBER,
    "signum": MAYBE_NUMBER,
    "stderr": str,
    "note": str,
    "peak?": amount,
    "cause?": CAUSE,
}

KERNEL = {
    "pid": int,
    "bound": bool,
    "curve": bool,
    "exited?": EXIT,
    "ports?": bool,
    "memory?": bool,
    **dict.fromkeys(("name", "display_name", "language", "interrupt_mode", "cwd", "home"), line),
}

MACHINE = {"host": node, "boot_id": line, "place?": line}

ENDED = {"id": id, "at": moment, "why": str, "exited?": EXIT, "host?": node}

KEYS = {"key": ascii_text, "signature_scheme": ascii_text, "*": ascii_text}

#: What lets a client in to a kernel that runs already.
RECORD = {**MACHINE, "id": id, "token": word, "listening": LISTENING}

#: What all who may look are told of a kernel.
STATUS = {
    "attached": int,
    "parted?": {"state": line, "since": moment},
    "lease_left?": NUMBER,
    "spooled": NUMBER,
    "busy?": bool,
    "busy_since?": moment,
    "paused": bool,
}
USE = {
    **dict.fromkeys(("memory", "cpu", "cpu_seconds"), figure),
    **dict.fromkeys(("memory_limit?", "threads?", "processes?", "gpu_memory?"), figure),
}
MACHINE_USE = dict.fromkeys(("memory_total?", "memory_used?", "cpu?", "cpus?", "load?"), figure)
GPU = {
    "index": figure,
    "name": line,
    **dict.fromkeys(("memory_used?", "memory_total?", "use?"), figure),
}
LISTED = {
    **MACHINE,
    "id": id,
    "started_at": moment,
    "persistent": bool,
    "session?": line,
    "kernel": KERNEL,
    "status?": STATUS,
    "use?": USE,
}

KERNELS = {
    "kernels": [LISTED],
    "ended": [ENDED],
    "host": node,
    "now": moment,
    "machine?": MACHINE_USE,
    "gpus?": [GPU],
}

SPEC = {
    **dict.fromkeys(("name", "directory", "display_name", "language", "interrupt_mode"), str),
    "argv": words,
    "program?": str,
    "metadata": dict,
    "logos": {"*": str},
}
NO_SPEC = {"error": str}
ENVIRONMENT = {
    **dict.fromkeys(("python", "kind", "name", "version", "prefix", "ipykernel", "trouble"), str),
    "kernelspecs": [SPEC],
}
PLACE = {"path": str, "there": str, "free": int, "writable": bool}


def spec_or_error(value: object) -> str:
    """A shape: a kernelspec, or why there is none."""
    has_error = isinstance(value, dict) and "error" in value
    return fault(value, NO_SPEC if has_error else SPEC, "")


INSPECTION = {
    **dict.fromkeys(("python", "version", "prefix", "system", "home", "shell"), str),
    "time": NUMBER,
    "state": PLACE,
    "tmp": PLACE,
    "kills_processes": bool,
    "fork_servers?": [{"python": str, "pid": int, "memory": NUMBER}],
    "found": {"*": spec_or_error},
    "logos": {"*": str},
    "kernelspecs?": [{**SPEC, "by_name": bool}],
    "environments?": [ENVIRONMENT],
    "setup_trouble?": str,
}

RUN = {"run": id, "kernel": id, "session?": line, "name": line, "at": moment, "goes_on": bool}

#: What a Jupyter Server there says of itself.
SERVER = {
    "pid": int,
    "port": int,
    "secure": bool,
    "since": moment,
    "token": ascii_text,
    **dict.fromkeys(("socket", "base_url", "directory"), line),
}

#: What each job may answer: of several shapes, the one whose first key is there.
SHAPES: dict[str, list[dict[str, Any]]] = {
    "launch": [
        {"kernel": KERNEL, "listening": LISTENING, **MACHINE, "bytecode": str, "keys?": KEYS},
        {"existing": RECORD, "keys": KEYS},
        {"listening": LISTENING},
        {"attached": bool},
        {"carried": hexadecimal},
    ],
    "probe": [{**MACHINE, "alive?": bool, "record?": dict, "ended?": ENDED}],
    "kernels": [KERNELS],
    "watch": [KERNELS],
    "attach": [{"record": RECORD, "keys": KEYS}],
    "stop": [{"stopped": bool}],
    "interrupt": [{"done": bool}],
    "logs": [{"file": line, "data": str}, {"end": bool}],
    "inspect": [INSPECTION],
    "install": [{"failed": str, "command": words}, {"ipykernel": str, "command": words}],
    "resolve": [{"path": (str, type(None))}],
    "servers": [
        {
            "servers": [SERVER],
            "directory": line,
            "programs": {"*": line},
            "free": int,
            "is_root": bool,
        }
    ],
    "relay": [{"relay": bool}],
    "measure": [{"listening": {"unix": address, "tcp": address}}],
    "put": [{"wanted": [int]}, {"put": int}],
    "run": [{"run": id}],
    "runs": [{"runs": [RUN]}],
    "journal": [{"data": str}, {"end": bool, "goes_on": bool}],
    "forget": [{"forgotten": bool}],
}


def check(host: str, job: str, answer: dict[str, Any]) -> None:
    """Raise `StrangeAgent` unless `answer` is one that the `job` may give."""
    shapes = SHAPES[job]
    shape = next((s for s in shapes if next(iter(s)).rstrip("?") in answer), shapes[0])
    require(host, answer, shape, "its answer")


def require(host: str, value: object, shape: Any, name: str) -> None:
    """Raise `StrangeAgent` unless `value`, which is called `name`, has the `shape`."""
    said = fault(value, shape, name)
    if said:
        raise errors.StrangeAgent(host=host, what=said)


def kernel(host: str, value: Mapping[str, Any]) -> None:
    """Raise `StrangeAgent` unless this is what an agent says of its kernel."""
    require(host, value, KERNEL, "its kernel")
