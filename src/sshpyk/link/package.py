"""The agent's files, as they travel to the host's Python.

A launch sends them in two parts. The first holds what the host needs until the kernel's process is
there; with the request that is about the ten packets that a connection sends before it waits for an
acknowledgement (RFC 6928), where all of it would take a distant host two round trips more. The rest
arrives while the kernel starts up; compiled, where the host's Python was seen to read what this one
compiles: that saves the host 40 ms of work, and is three times as many bytes.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import marshal
import sys
import zlib
from collections.abc import Mapping
from types import CodeType

#: What comes first: the module `sshpyk.agent.boot` comes to life, and takes care of the others.
SECOND_LINES = """
name = "sshpyk.agent.boot"
boot = sys.modules[name] = type(sys)(name)
exec(compile(sources[name], name, "exec"), boot.__dict__)
boot.main(sources)
"""

#: What a launch needs until the kernel's process is there.
_FIRST = {
    "agent": {"__init__", "boot", "kernel", "kernelspecs", "launch", "records", "sockets"},
    "wire": {"__init__", "channels", "quickjson"},
}

#: What only other jobs need.
_OTHERS = {"agent": {"jobs", "inspect", "inspect_install", "inspect_path", "inspect_pythons"}}

#: The bytecode that this Python makes, as `sshpyk.agent.boot.bytecode` says it.
BYTECODE = f"{sys.implementation.cache_tag} {importlib.util.MAGIC_NUMBER.hex()}"


@functools.cache
def whole() -> bytes:
    """All files, for any job but a launch."""
    return _packed({"": SECOND_LINES, "sshpyk": "", **_sources()})


@functools.cache
def first() -> bytes:
    """The first part, for a launch."""
    sources = _sources()
    names = {_name(folder, stem) for folder, stems in _FIRST.items() for stem in stems}
    return _packed({"": SECOND_LINES, "sshpyk": "", **{name: sources[name] for name in names}})


@functools.cache
def rest(*, compiled: bool) -> bytes:
    """The second part; `compiled` for a host's Python that reads `BYTECODE`."""
    skipped = {
        _name(folder, stem)
        for part in (_FIRST, _OTHERS)
        for folder, stems in part.items()
        for stem in stems
    }
    sources = {name: text for name, text in _sources().items() if name not in skipped}
    if not compiled:
        return b"\n" + _packed(sources)
    return BYTECODE.encode("ascii") + b"\n" + _packed({name: _code(name) for name in sources})


@functools.cache
def _sources() -> dict[str, str]:
    sources = {}
    for folder in ("wire", "agent"):
        for file in (importlib.resources.files("sshpyk") / folder).iterdir():
            if file.name.endswith(".py"):
                sources[_name(folder, file.name[:-3])] = file.read_text("utf-8")
    return sources


def _name(folder: str, stem: str) -> str:
    return f"sshpyk.{folder}.{stem}".removesuffix(".__init__")


def _code(name: str) -> bytes:
    """A module's bytecode, most often from its .pyc file."""
    spec = importlib.util.find_spec(name)
    code = spec.loader.get_code(name) if spec and spec.loader else None  # type: ignore[attr-defined]
    assert isinstance(code, CodeType)
    return marshal.dumps(_renamed(code, f"<{name}>"))


def _renamed(code: CodeType, name: str) -> CodeType:
    """`code` as if from the file `name`: where we keep ours is nothing for the host."""
    constants = code.co_consts
    renamed = (_renamed(one, name) if isinstance(one, CodeType) else one for one in constants)
    return code.replace(co_filename=name, co_consts=tuple(renamed))


def _packed(files: Mapping[str, str | bytes]) -> bytes:
    # Version 2 of the format is the newest that holds nothing but these: every Python reads it.
    data = zlib.compress(marshal.dumps(dict(files), 2), 6)
    return b"%d\n" % len(data) + data
