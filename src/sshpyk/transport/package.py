"""The agent's files, as they travel to the host's Python.

A launch sends them in two parts. The first is what the host needs until the kernel's process is
there. With the request it fits into the ten packets that a connection sends before it waits for an
acknowledgement (RFC 6928); all the files at once would take a distant host two round trips more.
The rest arrives while the kernel starts up. It is compiled where the host's Python is known to read
what this one compiles, which saves the host 40 ms of work and takes three times as many bytes.

Docstrings and comments stay at home: they are for people, and a third of the bytes.
"""

from __future__ import annotations

import functools
import importlib.resources
import marshal
import re
import zlib
from collections.abc import Mapping

from ..agent.boot import Sources, bytecode

#: What runs first: it makes the module `sshpyk.agent.boot`, which takes care of the others.
SECOND_LINES = """
name = "sshpyk.agent.boot"
boot = sys.modules[name] = type(sys)(name)
exec(compile(sources[name], name, "exec"), boot.__dict__)
boot.main(sources)
"""

#: What a launch needs until the kernel's process is there.
_FIRST = {
    "",
    "sshpyk",
    "sshpyk.agent",
    "sshpyk.agent.boot",
    "sshpyk.agent.kernel",
    "sshpyk.agent.kernelspecs",
    "sshpyk.agent.launch",
    "sshpyk.agent.records",
    "sshpyk.common",
    "sshpyk.common.processes",
    "sshpyk.common.sockets",
    "sshpyk.wire",
    "sshpyk.wire.channels",
    "sshpyk.wire.quickjson",
}

#: All that a relay needs.
_RELAY = _FIRST - {"sshpyk.agent.kernel", "sshpyk.agent.kernelspecs", "sshpyk.agent.launch"} | {
    "sshpyk.agent.loop",
    "sshpyk.agent.relay",
    "sshpyk.common.peers",
    "sshpyk.wire.frames",
    "sshpyk.wire.mux",
}

#: What only other jobs need.
_OTHERS = {
    "sshpyk.agent.helper",
    "sshpyk.agent.inspect",
    "sshpyk.agent.inspect_install",
    "sshpyk.agent.inspect_path",
    "sshpyk.agent.inspect_pythons",
    "sshpyk.agent.inspect_specs",
    "sshpyk.agent.jobs",
    "sshpyk.agent.put",
    "sshpyk.agent.relay",
    "sshpyk.agent.requester",
    "sshpyk.agent.run",
    "sshpyk.agent.servers",
    "sshpyk.wire.mux",
    "sshpyk.agent.usage",
    "sshpyk.wire.gpus",
    "sshpyk.wire.procfs",
}

#: What runs in another Python than the agent's, so it is never compiled.
_AS_SOURCE = {"sshpyk.agent.forkserver"}

#: What is for the type checker alone.
_TYPES = {"sshpyk.wire.requests"}

#: The bytecode that this Python makes.
BYTECODE = bytecode()

#: Docstrings and whole lines of comment, as we write them; a test compares what is left with the
#: original. Other texts in triple quotes are matched too, so that nothing within them is.
_FOR_PEOPLE = re.compile(
    r'''^(?P<indent> *)""".*?"""|^ *#[^\n]*|(?P<value>""".*?""")''', re.MULTILINE | re.DOTALL
)


@functools.cache
def whole() -> bytes:
    """All files, for any other job."""
    return _packed(_sources())


@functools.cache
def relay() -> bytes:
    """What a relay needs: a first reply may wait for it."""
    sources = _sources()
    return _packed({name: sources[name] for name in _RELAY})


@functools.cache
def first() -> bytes:
    """The first part, for a launch."""
    sources = _sources()
    return _packed({name: sources[name] for name in _FIRST})


@functools.cache
def rest(*, compiled: bool) -> bytes:
    """The second part; `compiled` for a host's Python that reads `BYTECODE`."""
    files: dict[str, str | bytes] = {
        name: text for name, text in _sources().items() if name not in _FIRST | _OTHERS
    }
    if not compiled:
        return b"\n" + _packed(files)
    # What the host would make of them itself, names of files included.
    codes = Sources(files)
    compiled_files = {
        name: text if name in _AS_SOURCE else marshal.dumps(codes.get_code(name))
        for name, text in files.items()
    }
    return BYTECODE.encode("ascii") + b"\n" + _packed(compiled_files)


@functools.cache
def _sources() -> dict[str, str]:
    sources = {"": SECOND_LINES, "sshpyk": ""}
    for folder in ("wire", "common", "agent"):
        for file in (importlib.resources.files("sshpyk") / folder).iterdir():
            if file.name.endswith(".py"):
                module = f"sshpyk.{folder}.{file.name[:-3]}".removesuffix(".__init__")
                if module not in _TYPES:
                    sources[module] = without_words(file.read_text("utf-8"))
    return sources


def without_words(source: str) -> str:
    """A module's source without its docstrings and comments; lines keep their numbers."""
    return _FOR_PEOPLE.sub(_blank, source)


def _blank(match: re.Match[str]) -> str:
    if match["value"] is not None:
        return match["value"]
    if match["indent"] is None:
        return ""
    # A body may be nothing but its docstring, so an empty one remains.
    return match["indent"] + '""' + "\n" * match.group().count("\n")


def _packed(files: Mapping[str, str | bytes]) -> bytes:
    # Sorted, for sets and directories have an order of their own each time, and so had the size.
    # Version 2 of the format is the newest that holds nothing but these: every Python reads it.
    data = zlib.compress(marshal.dumps(dict(sorted(files.items())), 2), 6)
    return b"%d\n" % len(data) + data
