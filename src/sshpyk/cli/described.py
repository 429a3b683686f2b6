"""What `--json` writes, command by command: one description, for the reference and for tests.

Each object that a command writes has "version", the number of this description. It changes when
something is taken away or gets another meaning, and not when something is added.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

VERSION = 1

NUMBER = (int, float)


class Field(NamedTuple):
    """A key, the shape of its value (`sshpyk.wire.shapes`), and what it says. "?" after the key:
    it is null where that is unknown or does not apply. `parts` are the keys of an object, or of
    each of a list of objects."""

    key: str
    shape: Any
    words: str
    parts: tuple[Field, ...] = ()


CHECK = (
    Field("mark", str, "v right, x wrong, ! look at it, i for information, ? not checked"),
    Field("what", str, "what was checked"),
    Field("text", str, "what was found"),
)

LIST = (
    Field("name", str, "the kernelspec"),
    Field("directory", str, "its directory"),
    Field("is_remote", bool, "whether sshpyk starts it"),
    Field("display_name", str, "its name in Jupyter"),
    Field("language", str, "its language"),
    Field("argv", [str], "the command in kernel.json"),
    Field("interrupt_mode", str, "signal or message"),
    Field("settings", dict, "those of kernel.json, as in Settings_"),
    Field("trouble", str, "why kernel.json can't be read, or empty"),
    Field("checks", list, "what was found", CHECK),
)

DOCTOR = (
    Field("host", str, "the host, or what leads there"),
    Field("kernel?", str, "the kernelspec"),
    Field("ok", bool, "whether nothing is wrong"),
    Field(
        "steps",
        list,
        "each step of the way",
        (
            *CHECK,
            Field("fix", str, "what mends it, or empty"),
            Field("seconds", NUMBER, "how long it took"),
        ),
    ),
)

PS = (
    Field("id", str, "the kernel's id"),
    Field("name?", str, "its session"),
    Field("host", str, "the host, as you call it"),
    Field("node?", str, "the machine's own name"),
    Field("kernelspec?", str, "its kernelspec there"),
    Field("state", str, "attached, detached, lost, exited, or unknown"),
    Field("since?", NUMBER, "since when"),
    Field("pid?", int, "its process there"),
    Field("started?", NUMBER, "when it was started"),
    Field("busy?", bool, "whether it runs code"),
    Field("busy_since?", NUMBER, "since when it does, or does not"),
    Field("memory?", NUMBER, "bytes that its processes use"),
    Field("memory_limit?", NUMBER, "bytes that they may use, where that is less than there are"),
    Field("cpu?", NUMBER, "processors that they keep busy: 1.0 is one"),
    Field("cpu_seconds?", NUMBER, "processor time of those that live"),
    Field("threads?", NUMBER, "their threads"),
    Field("processes?", NUMBER, "how many they are"),
    Field("gpu_memory?", NUMBER, "bytes that they use on GPUs"),
    Field(
        "machine?",
        dict,
        "what all on the host use",
        (
            Field("memory_total?", NUMBER, "bytes"),
            Field("memory_used?", NUMBER, "bytes"),
            Field("cpu?", NUMBER, "from 0 to 1: how busy its processors are"),
            Field("cpus?", NUMBER, "how many processors it has"),
            Field("load?", NUMBER, "of the last minute"),
        ),
    ),
    Field(
        "gpus?",
        list,
        "the host's GPUs",
        (
            Field("index", NUMBER, "its number"),
            Field("name", str, "its name"),
            Field("memory_used?", NUMBER, "bytes"),
            Field("memory_total?", NUMBER, "bytes"),
            Field("use?", NUMBER, "from 0 to 1"),
        ),
    ),
    Field("persistent?", bool, "whether it stays without a client"),
    Field("lease_left?", NUMBER, "seconds that it waits for a client"),
    Field("spooled?", NUMBER, "bytes of output that wait for a client"),
    Field("paused?", bool, "whether it is paused, for that is too much"),
    Field("ended?", str, "how and when it ended, in words"),
)

RUN = (
    Field("status", str, "ok, error, died, stopped, failed, or detached"),
    Field("run", str, "the run's id, for collect"),
    Field("kernel", str, "the kernel's id"),
    Field("host", str, "the host"),
    Field("cells", int, "how many cells are to run; 0 of a run that was left at once"),
    Field("ran", int, "how many have"),
    Field("cell?", int, "which of them raised, from 1"),
    Field("ename", str, "the name of what it raised, or empty"),
    Field("evalue", str, "its text, or empty"),
    Field("traceback", [str], "its traceback"),
    Field("text", str, "why it failed, or empty"),
    Field("output?", str, "the path of the executed notebook"),
)

ERROR = (
    Field("code", str, "stable, for programs"),
    Field("what", str, "what happened"),
    Field("advice", str, "what to do, or empty"),
    Field("command", str, "the command that helps, or empty"),
    Field("details", str, "what the other side said, or empty"),
)

PORT = (
    Field("target", str, "the port or the path of the socket there"),
    Field("local", (int, str), "the port or the path of the socket here"),
    Field("url", str, "the URL that the kernel printed, as it is here, or empty"),
    Field("trouble?", dict, "why the last connection found nothing there", ERROR),
    Field("kernel", str, "the id of the kernel"),
    Field("host", str, "the host"),
    Field("connections", int, "how many there are through it"),
    Field("pid", int, "the process here that keeps it open"),
)

ALLOCATIONS = (
    Field("name", str, "its name"),
    Field("host?", str, "the login node"),
    Field("job", str, "the scheduler's number of it"),
    Field("state", str, "pending or running"),
    Field("reason?", str, "why it is pending, in the scheduler's word"),
    Field("reason_text?", str, "the same in words"),
    Field("node?", str, "where it is"),
    Field("partition", str, "of the cluster"),
    Field("gpus?", str, "what it has of them"),
    Field("starts_at?", NUMBER, "when it starts, as the scheduler expects"),
    Field("ends_at?", NUMBER, "when it ends"),
)

BROWSE = (
    Field("url", str, "where the server is, here"),
    Field("page?", str, "the file that leads a browser there, with the token"),
    Field("port?", int, "the server's port there"),
    Field("directory?", str, "where it works"),
)

#: What each command writes, and of what.
FORMATS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "list": ("A list with an object for each kernelspec.", LIST),
    "doctor": ("A list with an object for each kernel or host.", DOCTOR),
    "ps": (
        "A list with an object for each kernel; with ``--watch``, and of ``top``, a line with such "
        "a list each time.",
        PS,
    ),
    "run": ("An object.", RUN),
    "port": ("An object once the port is open; with ``--list``, a list of such.", PORT),
    "allocations": ("A list with an object for each allocation.", ALLOCATIONS),
    "browse": ("An object once the server can be reached.", BROWSE),
}


def write(value: Any, indent: int | None = None) -> str:
    """What a command writes: an object, or a list of objects, each with the version."""
    if isinstance(value, list):
        value = [{"version": VERSION, **one} for one in value]
    else:
        value = {"version": VERSION, **value}
    return json.dumps(value, indent=indent, ensure_ascii=False) + "\n"


def shape_of(fields: tuple[Field, ...]) -> dict[str, Any]:
    """What an object of these is like, in the terms of `sshpyk.wire.shapes`."""
    shape: dict[str, Any] = {}
    for field in fields:
        shape[field.key] = field.shape
        if field.parts:
            parts = shape_of(field.parts)
            shape[field.key] = [parts] if field.shape is list else parts
    return shape
