"""Runs of notebooks and scripts: a host begins one, and we wait for its end, or leave it."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..jupyter import kernelspec
from ..jupyter.places import SHARED
from ..link.thread import io_thread, wait_for
from ..notebook import files
from ..notebook.form import Notebook
from ..notebook.journal import Replay
from ..server.address import ServerKernelAddress
from . import runs, syncing
from .kernels import Kernel, attach, start
from .result import Result, result_of

if TYPE_CHECKING:
    from ..remotekernel import RemoteKernel

#: Seconds between two saves of a notebook while a cell runs, and how many times as long as the last
#: one took they are at least apart: saving takes no more than a tenth of the time.
SAVE_EVERY = 1.0
SAVE_SELDOM = 10.0

#: What a script raises that ends by `sys.exit()`: that is its end, and no fault.
QUIET_EXITS = (("SystemExit", ""), ("SystemExit", "0"), ("SystemExit", "None"))

#: Seconds for an agent to say how its kernel ended.
TELL_WITHIN = 3.0


def begin(
    path: str,
    on: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    output: str | None = None,
    sync: str | None = None,
    hosts: Sequence[str] = (),
    ssh_config: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Running:
    """Have a host begin to execute a notebook (`path` ends with .ipynb) or a script.

    `on` is a kernelspec, of which a kernel is started that ends with the run (unless it is of a
    session or persistent), or a kernel that runs, named as for `attach`. `parameters` are the
    notebook's, by papermill's rules, and `arguments` the script's `sys.argv[1:]`. The executed
    notebook goes to `output`, by default into the notebook itself. `sync` is a directory whose
    files are brought to the host before. `note` gets what a person should know.

    Raises `SshpykError`; nothing is left then.
    """
    is_notebook = path.endswith(".ipynb")
    if not is_notebook and parameters:
        raise errors.SettingsError(text=f"{path} is a script, which takes words after --.")
    if is_notebook and arguments:
        raise errors.SettingsError(text=f"{path} is a notebook, which takes parameters (-p).")
    output = output or (path if is_notebook else None)
    if output is not None:
        files.check_writable(output)
    specs = {name: spec for name, spec in kernelspec.all_specs().items() if spec.is_ours}
    spec = specs.get(on.lower())
    language = str(spec.content.get("language") or "") if spec is not None else ""
    work = _work(path, parameters, arguments, language, note)
    cwd = os.path.dirname(os.path.abspath(path))
    if spec is not None:
        if sync is not None:
            syncing.push(spec.config, sync, note)
        kernel = start(spec.name, cwd=sync or cwd, persistent=True)
        ends = not any(spec.config.get(name) for name in ("persistent", *SHARED))
    else:
        if sync is not None:
            raise errors.SettingsError(
                text="Files can't be brought to a kernel that runs already, whose directory is "
                "its own. Name a kernelspec."
            )
        try:
            kernel = attach(on, hosts=hosts, ssh_config=ssh_config)
        except errors.NoKernel:
            names = ", ".join(sorted(spec.name for spec in specs.values()))
            raise errors.NoSuchKernel(name=repr(on), names=names or "none") from None
        ends = False
    try:
        address = kernel._remote.address
        if isinstance(address, ServerKernelAddress):
            raise errors.NoAgent(host=kernel.host)
        if work is None:
            work = _work(path, parameters, arguments, kernel.language, note)
            assert work is not None
        run = runs.Run(address.destination, address.agent.python, kernel=kernel._remote)
        if output is not None:
            _save_first(output, work.notebook)
        wait_for(kernel._remote.watch_activity())  # so that `sshpyk ps` knows, from the beginning
        wait_for(run.begin(work, kernel.id, ends=ends))
    except BaseException:
        if ends:
            kernel.stop()
        else:
            kernel.leave()
        raise
    return Running(kernel, run, work, output, ends=ends)


def _work(
    path: str,
    parameters: Mapping[str, Any] | None,
    arguments: Sequence[str],
    language: str,
    note: Callable[[str], None],
) -> runs.Work | None:
    """What is to run; None where the kernel's language must be known for it. Raises
    `SettingsError`."""
    if not path.endswith(".ipynb"):
        return runs.of_script(path, arguments, language.lower())
    work, notes = runs.of_notebook(path, parameters or {}, language.lower())
    if work is not None:
        for text in notes:
            note(text)
    return work


def _save_first(output: str, notebook: Notebook) -> None:
    """Show that the run has begun; whether there is room for all of it shows later."""
    try:
        files.write(output, notebook)
    except OSError as error:
        raise errors.Unwritable(path=output, reason=error.strerror or str(error)) from None


def run(
    path: str,
    on: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    output: str | None = None,
    sync: str | None = None,
    detach: bool = False,
    hosts: Sequence[str] = (),
    ssh_config: str | None = None,
) -> Result:
    """Execute a notebook or a script on a host, see `begin`, and wait for its end.

    With `detach` it is left at once, and `collect` brings what came of it. That a cell raised is
    told by the result, not by an exception. Raises `SshpykError`.
    """
    running = begin(
        path,
        on,
        parameters=parameters,
        arguments=arguments,
        output=output,
        sync=sync,
        hosts=hosts,
        ssh_config=ssh_config,
    )
    return running.detached() if detach else running.wait()


class Running:
    """A run that was begun, see `begin`."""

    def __init__(
        self, kernel: Kernel, run: runs.Run, work: runs.Work, output: str | None, *, ends: bool
    ) -> None:
        self.kernel = kernel
        self.id = run.id
        self.host = kernel.host
        self.kernel_id = kernel.id
        self.replay = Replay()
        self.was_interrupted = False
        self.is_away = False  # whether the host is out of reach
        self.trouble: OSError | None = None  # why the notebook could not be saved the last time
        self._run = run
        self._is_script = work.is_script
        self.output = output
        self._ends = ends
        self._is_saved = True
        self._saved_at = float("-inf")
        self._cost = 0.0  # seconds that the last save took

    def wait(self, seen: Callable[[Running], None] = lambda running: None) -> Result:
        """Wait for the end; `seen` is called when something has come, or the host is away or back.

        The notebook is saved after each cell, and while one runs. At the end the kernel ends, if it
        was started for the run. A first KeyboardInterrupt interrupts the cell that runs, which ends
        the run; at a second one this is left, and KeyboardInterrupt raised. Raises `SshpykError`;
        the run goes on then.
        """
        pieces: queue.SimpleQueue[bytes | bool | None] = queue.SimpleQueue()
        future = io_thread().submit(self._run.follow(pieces.put, pieces.put))
        future.add_done_callback(lambda _: pieces.put(None))
        try:
            while True:
                try:
                    if not self._take(pieces, seen):
                        break
                except KeyboardInterrupt:
                    if self.was_interrupted:
                        raise
                    self.was_interrupted = True
                    self.kernel.interrupt()
                    seen(self)
            future.result()
            if self.replay.status == "died":
                self.replay.text = wait_for(_how_it_ended(self.kernel._remote))
            result = result_of(self.replay, self.id, self.host, self.output)
            if self._is_script and (result.ename, result.evalue) in QUIET_EXITS:
                result = replace(result, status="ok", cell=None, ename="", evalue="", traceback=[])
            self._save_at_end()
        except BaseException:
            future.cancel()
            self.leave()
            raise
        if self._ends:
            self.kernel.stop()
        else:
            self.kernel.leave()
        return result

    def leave(self) -> None:
        """End our side: the run goes on, and `collect` brings what came of it."""
        self.kernel.leave()

    def _take(
        self, pieces: queue.SimpleQueue[bytes | bool | None], seen: Callable[[Running], None]
    ) -> bool:
        """Take in what has come; False at the end."""
        ran, changed, goes_on = self.replay.ran, False, True
        try:
            piece = pieces.get(timeout=None if self._is_saved else max(0.0, self._save_in()))
        except queue.Empty:
            self._save()  # the last that came for now came too soon after the last save
            seen(self)  # it may have failed
            return True
        while True:
            if piece is None:
                goes_on = False
            elif isinstance(piece, bool):
                self.is_away = piece
            else:
                changed = self.replay.feed(piece) or changed
            try:
                piece = pieces.get_nowait()
            except queue.Empty:
                break
        if changed:
            self._is_saved = False
        if changed and goes_on and (self.replay.ran > ran or self._save_in() < 0):
            self._save()
        seen(self)
        return goes_on

    def _save_in(self) -> float:
        """Seconds until it may be saved again."""
        pause = max(SAVE_EVERY, SAVE_SELDOM * self._cost)
        return self._saved_at + pause - time.monotonic()

    def _save(self) -> None:
        self._is_saved = True
        if self.output is None or self.replay.notebook is None:
            return
        begun = time.monotonic()
        try:
            files.write(self.output, self.replay.notebook)
            self.trouble = None
        except OSError as error:
            self.trouble = error  # it is tried again: there may be room by then
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - begun

    def _save_at_end(self) -> None:
        self._save()
        if self.trouble is not None:
            raise errors.NotSaved(
                path=self.output or "",
                reason=self.trouble.strerror or str(self.trouble),
                host=self.host,
                id=self.id[:8],
            )
        wait_for(self._run.forget())

    def detached(self) -> Result:
        """Leave it; the result as of now."""
        self.leave()
        return Result("detached", self.id, self.kernel_id, self.host, 0, 0, output=self.output)


async def _how_it_ended(kernel: RemoteKernel) -> str:
    """Why a kernel died, as far as its agent knows; it may take a moment to say so."""
    with contextlib.suppress(TimeoutError):
        await within(TELL_WITHIN, kernel.exit_seen())
    return "" if kernel.exited is None else errors.describe_exit(kernel.exited)
