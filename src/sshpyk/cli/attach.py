"""`sshpyk attach`: come back to a kernel that runs on a host."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import errors
from ..aio import within
from ..jupyter import persistence
from . import kernels, logs, missed
from .onserver import OnServer
from .place import Place
from .terminal import Terminal

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel, Status

#: Seconds for the agent to say whether the kernel is busy; it may not know.
FIRST_WORD = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="ID|NAME|FILE", help="as `sshpyk ps` shows it, or a file")
    kernels.add_place_options(parser)
    parser.add_argument(
        "--no-console",
        action="store_true",
        help="open no console; say how to connect, and keep the kernel attached",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    name = os.path.expanduser(arguments.name)
    is_file = os.path.isfile(name)
    survey, kernel = wait_for(kernels.locate(arguments.name, arguments.hosts, arguments.ssh_config))
    path = os.path.abspath(name) if is_file else persistence.default_path(kernel["id"])
    if isinstance(survey.place, OnServer):
        from ..kernelapp import main

        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        survey.place.save(kernel["id"], path)
        terminal.note(f"Attaching to {kernels.label(kernel, survey.place.host)}.", "dim")
        return main(["--persistent", f"--existing={path}"])
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        wait_for(kernels.save(survey.place, kernel["id"], path))
    terminal.note(f"Attaching to {kernels.label(kernel, survey.place.host)}.", "dim")
    if arguments.no_console or importlib.util.find_spec("jupyter_console") is None:
        from ..kernelapp import main

        for text in missed.texts(wait_for(_since_left(survey.place, kernel["id"]))):
            terminal.raw(text)
        sys.stdout.flush()
        return main(["--persistent", f"--existing={path}"])
    return asyncio.run(_console(survey.place, kernel["id"], path, terminal))


async def _since_left(place: Place, id: str) -> list[missed.Line]:
    return missed.since_left((await logs.outputs(place, id)).lines)


async def _console(place: Place, id: str, path: str, terminal: Terminal) -> int:
    """Attach, show what was missed and what comes, and once the kernel is idle run jupyter-console
    on it, which could not begin before. The kernel is left after."""
    from ..kernelapp.manager import make_manager, provisioner_of
    from ..link.thread import io_thread

    with tempfile.TemporaryDirectory(prefix="sshpyk-") as directory:
        file = os.path.join(directory, f"kernel-{id}.json")
        settings = {"existing": path, "persistent": True}
        manager = make_manager("", settings, connection_file=file)
        await manager.start_kernel()
        kernel = provisioner_of(manager).kernel
        assert kernel is not None
        loop = asyncio.get_running_loop()
        has_left, tasks = asyncio.Event(), []

        def interrupt() -> None:
            # The console can't interrupt the kernel, because it did not start it.
            tasks.append(asyncio.ensure_future(manager.interrupt_kernel()))

        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGQUIT, has_left.set)
        size = await io_thread().run(_show_missed(place, id, terminal))
        is_over = functools.partial(kernel.has_client, "iopub")
        shown = asyncio.ensure_future(
            io_thread().run(_show_what_comes(place, id, terminal, size, is_over))
        )
        try:
            if await _is_free(kernel, has_left, terminal):
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "jupyter_console", "--existing", file),
                    "--ZMQTerminalInteractiveShell.include_other_output=True",
                )
                await process.wait()
        finally:
            shown.cancel()
            await asyncio.wait([shown, *tasks])
            loop.remove_signal_handler(signal.SIGINT)
            await manager.shutdown_kernel()
            manager.context.destroy(linger=100)
    exited = kernel.exited
    if exited is not None:
        terminal.error(f"The kernel has ended ({errors.describe_exit(exited)}).")
        return 1
    terminal.note(f"The kernel goes on. Come back: sshpyk attach {id[:8]}", "dim")
    return 0


async def _is_free(kernel: RemoteKernel, has_left: asyncio.Event, terminal: Terminal) -> bool:
    """Wait until the kernel is idle; False where the user leaves before, or the kernel ends."""
    from ..link.thread import io_thread

    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(status: Status) -> None:
        loop.call_soon_threadsafe(changed.set)

    forget = kernel.subscribe(note)
    watching = asyncio.ensure_future(io_thread().run(kernel.watch_activity()))
    leaving = asyncio.ensure_future(has_left.wait())
    was_told = False
    try:
        with contextlib.suppress(TimeoutError):
            await within(FIRST_WORD, changed.wait())
        while kernel.exited is None and kernel.status.busy:
            changed.clear()
            if not was_told:
                was_told = True
                terminal.note(
                    "The kernel is busy; a console opens when it is done. Ctrl+C interrupts it, "
                    "Ctrl+\\ leaves it.",
                    "dim",
                )
            waiting = asyncio.ensure_future(changed.wait())
            await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if has_left.is_set():
                return False
        return kernel.exited is None
    finally:
        forget()
        leaving.cancel()
        watching.cancel()


async def _show_missed(place: Place, id: str, terminal: Terminal) -> int:
    """Print what was missed; how many bytes of the kernel's outputs were read for it."""
    outputs = await logs.outputs(place, id)
    for text in missed.texts(missed.since_left(outputs.lines)):
        terminal.raw(text)
    sys.stdout.flush()
    return outputs.size


async def _show_what_comes(
    place: Place, id: str, terminal: Terminal, size: int, is_over: Callable[[], bool]
) -> None:
    """Print what comes after the first `size` bytes of the kernel's outputs, until the console
    hears the kernel itself."""
    reader = missed.Reader()
    with contextlib.suppress(asyncio.CancelledError):
        async for _, piece in logs.read(place, id, [logs.OUTPUTS], follow=True):
            if is_over():
                return
            skipped = min(size, len(piece))
            size -= skipped
            reader.feed(piece[skipped:])
            for text in missed.texts(reader.pop()):
                terminal.raw(text)
            sys.stdout.flush()
