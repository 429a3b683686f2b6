"""The first code of ours that the host's Python runs.

It gets on stdin, after the files themselves, one line of JSON: the request, an object whose "do"
names the job ("launch", "probe", ...; see `JOBS`). After the request of a launch come the files
that it needs later (`read_rest`).

It answers on stdout, in lines of `MAGIC` and JSON. Whatever else is there is noise of shells and
start-up files. {"error": KIND, ...} says why a job failed, by a kind and its fields;
`sshpyk.errors` has the sentences.

Exit codes: 0 done; 1 failed, and said so; 3 this Python is too old (said by the command line that
reads this file, see `sshpyk.transport.jobs`).

It runs on Python 3.8 and later. The user waits until the kernel's process is there, so the imports
up to then have been timed: `json`, `re`, `signal`, `socket` and `ctypes` take nearly 10 ms each,
mostly for `enum`. That is why `launch`, `records`, `kernelspecs`, `kernel` and this file import
some modules inside functions.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any, Dict, NoReturn, Optional, Union

    Files = Dict[str, Union[str, bytes]]

MAGIC = b"SSHPYK2 "

JOBS = {
    "launch": "sshpyk.agent.launch",
    "probe": "sshpyk.agent.records",
    **dict.fromkeys(
        ("kernels", "watch", "attach", "stop", "interrupt", "logs", "resolve"), "sshpyk.agent.jobs"
    ),
    "inspect": "sshpyk.agent.inspect",
    "install": "sshpyk.agent.inspect_install",
    "measure": "sshpyk.agent.inspect_path",
    "servers": "sshpyk.agent.servers",
    "relay": "sshpyk.agent.relay",
    "put": "sshpyk.agent.put",
    **dict.fromkeys(("run", "runs", "journal", "forget"), "sshpyk.agent.run"),
}


class Sources:
    """Finds and loads modules in a dictionary of their sources, or their bytecode."""

    def __init__(self, sources: Files) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        """Called by `import`."""
        if name not in self.sources:
            return None
        is_package = any(other.startswith(name + ".") for other in self.sources)
        make: Any = type(sys.__spec__)  # without importing importlib.machinery
        spec: ModuleSpec = make(name, self, is_package=is_package)
        return spec

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        """Called by `import`: the usual kind of module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Called by `import`."""
        name = module.__name__
        exec(self.get_code(name), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        """The module's code."""
        source = self.sources[name]
        if isinstance(source, str):
            return compile(source, f"<{name}>", "exec", dont_inherit=True)
        import marshal

        code: CodeType = marshal.loads(source)
        return code

    def get_source(self, name: str) -> Optional[str]:
        """The module's source where it is there, so that tracebacks show lines."""
        source = self.sources[name]
        return source if isinstance(source, str) else None


def line_of(**fields: Any) -> bytes:
    """One line for the client. It begins on a line of its own, whatever noise came before."""
    from ..wire.quickjson import dumps

    return b"\n" + MAGIC + dumps(fields).encode("ascii") + b"\n"


def answer(**fields: Any) -> None:
    """One line to the client."""
    os.write(1, line_of(**fields))


class Failed(Exception):
    """A job can't be done: a kind of `sshpyk.errors`, and its fields."""

    def __init__(self, kind: str, **fields: Any) -> None:
        super().__init__(kind)
        self.fields = dict(fields, error=kind)


def describe_defect() -> str:
    """The traceback of the exception that is being handled."""
    import traceback  # which takes 8 ms, for what hardly ever happens

    return traceback.format_exc()


_files: Files = {}


def bytecode() -> str:
    """The name of the bytecode format that this Python reads; empty where Python does not tell."""
    try:
        from _frozen_importlib_external import MAGIC_NUMBER
    except ImportError:
        return ""
    return f"{sys.implementation.cache_tag} {MAGIC_NUMBER.hex()}"


def read_rest() -> None:
    """Read the files that follow the request of a launch.

    Before them come two lines: the name of their bytecode format, empty for sources, and their
    size in bytes. Raises ValueError, EOFError or zlib.error where the client has gone.
    """
    import marshal
    import zlib

    stdin = sys.stdin.buffer
    is_sent = stdin.readline().decode("ascii").strip()
    data = stdin.read(int(stdin.readline()))
    if is_sent not in ("", bytecode()):
        # This Python is not the one of the last launch: it can't read that bytecode.
        answer(wants="sources")
        read_rest()
    else:
        _files.update(marshal.loads(zlib.decompress(data)))


def main(sources: Files) -> NoReturn:
    """Read the request and do the job."""
    _files.update(sources)
    sys.meta_path.insert(0, Sources(_files))
    try:
        from ..wire.quickjson import loads

        request = loads(sys.stdin.buffer.readline().decode("ascii"))
        job = __import__(JOBS[request["do"]], fromlist=["run"])
        job.run(request)
        sys.exit(0)
    except Failed as failed:
        answer(**failed.fields)
    except Exception:
        # A defect of ours, or a host stranger than we know: the client shows this text.
        answer(error="bug", traceback=describe_defect())
    sys.exit(1)
