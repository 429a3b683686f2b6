"""What a kernel can see of how it was started: the source of this is run in it, forked or new."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

OWN = "import os; print(os.listdir('/proc/self/fd'), os.nice(0))"


def facts(modules: list[str]) -> dict[str, Any]:
    """All of it, to be written as JSON; `modules` is what was imported before this was."""
    main = sys.modules["__main__"]
    limits = {n: resource.getrlimit(v) for n, v in vars(resource).items() if n[:7] == "RLIMIT_"}
    wanted = ("SigBlk", "SigIgn", "NoNewPrivs", "CapEff", "Seccomp", "Threads")
    return {
        "argv": sys.argv,
        "orig_argv": getattr(sys, "orig_argv", None),
        "path": sys.path,
        "flags": [str(sys.flags), sys._xoptions],
        "warnings": [sys.warnoptions, str(warnings.filters)],
        "executable": [sys.executable, sys.prefix, sys.base_prefix],
        "main": [main.__name__, str(getattr(main, "__spec__", None)), str(type(main))],
        "environment": {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"},
        "its parent": int(os.environ["JPY_PARENT_PID"]) == os.getppid(),
        "directory": os.getcwd(),
        "umask": [os.umask(0o22), os.umask(0o22)],
        "limits": limits,
        "nice": [os.nice(0), sorted(os.sched_getaffinity(0)), os.sched_getscheduler(0)],
        "groups": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getgroups()],
        "signals": {int(s): named(signal.getsignal(s)) for s in signal.valid_signals()},
        "status": [line for line in read("status").splitlines() if line.split(":")[0] in wanted],
        "dies with": death_signal(),
        "proc": [read("cgroup"), read("oom_score_adj"), read("comm")],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "switch": [sys.getswitchinterval(), sys.getrecursionlimit()],
        "collector": [gc.isenabled(), gc.get_threshold()],
        "modules": modules,
        "faulthandler": faulthandler.is_enabled(),
        "files": [text_file(file) for file in (sys.__stdin__, sys.__stdout__, sys.__stderr__)],
        "descriptors": descriptors(),
        "at fork": at_fork(),
        "log": [logging.getLogger().level, str(logging.getLogger().handlers)],
        "subprocess": printed([sys.executable, "-c", OWN]),
        "shell": printed(["sh", "-c", "trap; pwd; umask; ulimit -a"]),
        "multiprocessing": pools(),
        "matplotlib": plot(),
    }


def read(name: str) -> str:
    """What the system says of this process."""
    return Path("/proc/self", name).read_text()


def named(handler: object) -> str:
    """A signal's handler, wherever it is in memory."""
    return str(handler).split(" at ")[0]


def descriptors() -> dict[str, int]:
    """How many there are of each kind."""
    kinds: dict[str, int] = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink("/proc/self/fd/" + fd).split(":")[0]
        except OSError:
            continue
        # The history is written when it likes; ZMQ makes what else it needs with its connections.
        if not kind.startswith("anon_inode") and "profile" not in kind:
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def death_signal() -> int:
    """The signal that comes when the parent ends."""
    import ctypes

    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number))
    return number.value


def at_fork() -> list[Any]:
    """What happens around a fork."""
    happened: list[Any] = []
    os.register_at_fork(
        before=lambda: happened.append("before"), after_in_parent=lambda: happened.append("after")
    )
    state = random.getstate()
    child = os.fork()
    if not child:
        os._exit(7 if random.getstate() != state else 8)
    happened.append(os.waitpid(child, 0)[1] >> 8)
    return happened


def printed(command: list[str]) -> str:
    """What a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def text_file(file: Any) -> list[object]:
    """One of the standard files."""
    kind = os.readlink(f"/proc/self/fd/{file.fileno()}").split(":")[0]
    return [file.encoding, file.errors, file.line_buffering, file.mode, file.name, kind]


def pools() -> dict[str, list[str]]:
    """Work done by processes of each kind."""
    import multiprocessing

    found = {}
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1) as pool:
            found[method] = pool.map(os.path.basename, ["a/b"])
    return found


def plot() -> str:
    """Draw something, with what."""
    import matplotlib.pyplot

    figure, axes = matplotlib.pyplot.subplots()
    axes.plot([1, 2])
    figure.canvas.draw()
    return str(matplotlib.get_backend())
