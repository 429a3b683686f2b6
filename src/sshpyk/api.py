"""`import sshpyk`: kernels on hosts, for programs.

All functions wait until they are done, from any thread; from async code call them by
`asyncio.to_thread`. They raise `sshpyk.SshpykError`, whose `code` is stable and whose text says
what to do; `SettingsError`, one of these, is the caller's mistake. Times are in seconds, moments
in seconds since 1970, sizes in bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import queue
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import errors, runs, syncing
from .aio import within
from .cli import kernels
from .cli.place import Place
from .cli.terminal import Silent
from .errors import SettingsError as SettingsError
from .errors import SshpykError as SshpykError
from .jupyter import kernelspec, persistence
from .jupyter.places import destination_of
from .link.thread import io_thread, wait_for
from .notebook import files
from .notebook.form import Notebook
from .notebook.journal import Replay
from .notebook.outputs import move
from .server.address import ServerKernelAddress

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import AsyncKernelManager

    from .jupyter.provisioner import SSHKernelProvisioner
    from .remotekernel import RemoteKernel, Status

#: Seconds between two saves of a notebook while a cell runs, and how many times as long as the last
#: one took they are at least apart: saving takes no more than a tenth of the time.
SAVE_EVERY = 1.0
SAVE_SELDOM = 10.0


@dataclass(frozen=True)
class Host:
    """A host, or a place that a command leads to, and the Python there that runs our agent."""

    name: str
    python: str


def hosts() -> list[Host]:
    """The hosts of this machine's kernelspecs."""
    found = [spec.config for spec in kernelspec.all_specs().values() if spec.is_ours]
    known = {destination_of(config).host: config for config in reversed(found)}
    return [
        Host(name, str(config.get("remote_python") or "python3"))
        for name, config in sorted(known.items())
        if name
    ]


def add(
    host: str,
    *names: str,
    kernel_name: str | None = None,
    display_name: str | None = None,
    all: bool = False,
    replace: bool = False,
    **settings: Any,
) -> list[str]:
    """Add kernels of `host` to Jupyter, as `sshpyk add` does: the names of the kernelspecs made.

    `names` are kernelspecs, environments or paths of Pythons there; without them the only one that
    is ready, or `all`. `settings` are those of the reference. Asks nobody and installs nothing.
    Raises `SshpykError`.
    """
    from .cli import add as command
    from .server.address import is_url

    if is_url(host):
        raise errors.SettingsError(text="Kernels of a Jupyter Server are added by `sshpyk add`.")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = parser.parse_args([])
    unknown = settings.keys() - vars(arguments).keys()
    if unknown:
        raise errors.SettingsError(text=f"There is no setting {sorted(unknown)[0]}.")
    vars(arguments).update(host=host, kernels=list(names), kernel_name=kernel_name, all=all)
    vars(arguments).update(display_name=display_name, replace=replace, **settings)
    config = command.settings_of(arguments)
    adding = command.choose_kernels(arguments, Silent(), config)
    return [kernelspec.write(name, content, logos).name for name, content, logos in adding]


@dataclass(frozen=True)
class KernelInfo:
    """A kernel that runs on a host, or has ended there; what each says is in the reference, under
    `sshpyk ps --json`. None is unknown."""

    id: str
    name: str | None
    host: str
    node: str | None
    kernelspec: str | None
    state: str
    since: float | None
    pid: int | None
    started: float | None
    busy: bool | None
    busy_since: float | None
    memory: float | None
    memory_limit: float | None
    cpu: float | None
    cpu_seconds: float | None
    threads: float | None
    processes: float | None
    gpu_memory: float | None
    machine: dict[str, Any] | None
    gpus: list[dict[str, Any]] | None
    persistent: bool | None
    lease_left: float | None
    spooled: float | None
    paused: bool | None
    ended: str | None


def status(
    *hosts: str, ended: bool = False, use: bool = False, ssh_config: str | None = None
) -> list[KernelInfo]:
    """The kernels of this user that run on `hosts`, by default on those of all kernelspecs.

    With `ended` those that have ended in the last week, too; with `use` what they use, which takes
    a moment longer. Raises `SshpykError` where a host can't be asked.
    """
    from .cli import rows

    surveys = wait_for(kernels.survey_all(kernels.places(hosts, ssh_config), use=use))
    for survey in surveys:
        if survey.trouble is not None:
            raise survey.trouble
    return [KernelInfo(**row) for row in rows.describe_all(surveys, ended=ended)]


#: What a script raises that ends by `sys.exit()`: that is its end, and no fault.
QUIET_EXITS = (("SystemExit", ""), ("SystemExit", "0"), ("SystemExit", "None"))

#: Seconds for an agent to say how its kernel ended.
TELL_WITHIN = 3.0


class Kernel:
    """A kernel on a host that this process is attached to: see `start` and `attach`.

    As a context manager it ends the kernel where `start` has started it, and leaves it otherwise.
    """

    def __init__(self, manager: AsyncKernelManager, *, ends: bool) -> None:
        self._manager = manager
        self._ends = ends
        self._is_there = True

    @property
    def id(self) -> str:
        """The id that `sshpyk ps` shows."""
        address = self._remote.address
        return address.id if isinstance(address, ServerKernelAddress) else address.agent.id

    @property
    def host(self) -> str:
        """What one gives to ssh, or what the place is called."""
        return self.status.host

    @property
    def status(self) -> Status:
        """How it is now; `to_json` has it for other programs."""
        return self._remote.status

    @property
    def language(self) -> str:
        """The language that it runs, in lower case."""
        facts = self._remote.facts
        return facts["language"].lower() if facts is not None else ""

    @property
    def connection_file(self) -> str:
        """The path of a file with which any Jupyter client of this machine connects."""
        return str(self._manager.connection_file)

    def client(self) -> BlockingKernelClient:
        """A Jupyter client whose channels are started; call its `stop_channels` after."""
        client = self._manager.blocking_client()
        client.start_channels()
        return client

    def execute(self, code: str, *, timeout: float | None = None) -> str:
        """Run `code` and wait; what it wrote to stdout.

        Raises `CodeRaised` where it raised, TimeoutError after `timeout` seconds.
        """
        written: list[str] = []

        def take(message: Mapping[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                written.append(content["text"])

        client = self.client()
        try:
            client.wait_for_ready(timeout=timeout)
            reply = client.execute_interactive(
                code, timeout=timeout, output_hook=take, allow_stdin=False
            )["content"]
        finally:
            client.stop_channels()
        if reply["status"] != "ok":
            raise errors.CodeRaised(
                text=f"{reply.get('ename', reply['status'])}: {reply.get('evalue', '')}",
                details="\n".join(map(str, reply.get("traceback", []))),
            )
        return "".join(written)

    def interrupt(self) -> None:
        """As Ctrl+C in a notebook. Where the host is away it is done once that is back."""
        wait_for(self._manager.interrupt_kernel())

    def restart(self) -> None:
        """Start it again in place; the clients' connections stay."""
        wait_for(self._manager.restart_kernel())

    def leave(self) -> None:
        """End our side. The kernel goes on, and `attach` comes back to it."""
        self._close(persistent=True)

    def stop(self) -> None:
        """End the kernel and our side."""
        self._close(persistent=False)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(persistent=not self._ends)

    @property
    def _provisioner(self) -> SSHKernelProvisioner:
        from .kernelapp.manager import provisioner_of

        return provisioner_of(self._manager)

    @property
    def _remote(self) -> RemoteKernel:
        kernel = self._provisioner.kernel
        if kernel is None:
            raise errors.LinkClosed(host=self._provisioner.host_name)
        return kernel

    def _close(self, *, persistent: bool) -> None:
        if self._is_there:
            self._is_there = False
            wait_for(_close(self._manager, persistent=persistent))


async def _close(manager: AsyncKernelManager, *, persistent: bool) -> None:
    from .kernelapp.manager import provisioner_of

    provisioner_of(manager).persistent = persistent
    await manager.shutdown_kernel()
    manager.context.destroy(linger=100)


async def _open(name: str, settings: dict[str, Any], cwd: str | None) -> AsyncKernelManager:
    from .kernelapp.manager import make_manager

    manager = make_manager(name, settings)
    try:
        await manager.start_kernel(**({} if cwd is None else {"cwd": cwd}))
    except BaseException:
        manager.context.destroy(linger=100)
        raise
    return manager


def start(name: str, *, cwd: str | None = None, **settings: Any) -> Kernel:
    """Start a kernel of the kernelspec `name`, one of `sshpyk list`.

    It works in the directory of the host that corresponds to `cwd` here; `settings` are those of
    the reference, over the kernelspec's own. Where the kernelspec has a `session` whose kernel
    runs, attaches to that. Raises `SshpykError`; nothing is left then.
    """
    manager = wait_for(_open(name, settings, cwd))
    kernel = Kernel(manager, ends=False)
    kernel._ends = not kernel._provisioner.persistent
    return kernel


def attach(name: str, *, hosts: Sequence[str] = (), ssh_config: str | None = None) -> Kernel:
    """Attach to a kernel that runs: by its id, the beginning of that, its session's name, or its
    persistence file. `hosts` is where to look, if not on those of all kernelspecs.

    Raises `SshpykError`.
    """

    async def work() -> AsyncKernelManager:
        path = os.path.expanduser(name)
        survey, found = await kernels.locate(name, hosts, ssh_config)
        if not os.path.isfile(path):
            path = persistence.default_path(found["id"])
            if not os.path.exists(path):
                await kernels.save(survey.place, found["id"], path)
        return await _open("", {"existing": os.path.abspath(path), "persistent": True}, None)

    return Kernel(wait_for(work()), ends=False)


# -- runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What became of a run: "ok"; "error", a cell raised; "died", the kernel ended; "stopped" or
    "failed", what ran it on the host was ended, or has a defect; "detached", it goes on."""

    status: str
    run: str  # its id, for `collect`
    kernel: str  # the kernel's id
    host: str
    cells: int  # how many are to run
    ran: int  # how many have
    cell: int | None = None  # which of them raised, from 1
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    text: str = ""  # why it failed
    output: str | None = None  # the notebook's path

    def to_json(self) -> dict[str, Any]:
        """The result for other programs."""
        return dict(vars(self))


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
        ends = not (spec.config.get("session") or spec.config.get("persistent"))
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
            result = _result(self.replay, self.id, self.host, self.output)
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
        ran, changed = self.replay.ran, False
        piece = pieces.get()
        while True:
            if piece is None:
                return False
            if isinstance(piece, bool):
                self.is_away = piece
            else:
                changed = self.replay.feed(piece) or changed
            try:
                piece = pieces.get_nowait()
            except queue.Empty:
                break
        if changed:
            age = time.monotonic() - self._saved_at
            if self.replay.ran > ran or age > max(SAVE_EVERY, SAVE_SELDOM * self._cost):
                self._save()
        seen(self)
        return True

    def _save(self) -> None:
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


def _result(
    replay: Replay, run: str, host: str, output: str | None, *, goes_on: bool = False
) -> Result:
    """What a journal says of its run, of which there will be more where it `goes_on`."""
    number = None if replay.failed_at is None else replay.number_of(replay.failed_at)
    text = "" if replay.status or goes_on else "what ran it on the host has ended"
    return Result(
        status=replay.status or ("detached" if goes_on else "failed"),
        run=run,
        kernel=replay.kernel,
        host=host,
        cells=len(replay.cells),
        ran=replay.ran,
        cell=number,
        ename=str(replay.error.get("ename") or ""),
        evalue=str(replay.error.get("evalue") or ""),
        traceback=list(map(str, replay.error.get("traceback", []))),
        text=text or replay.text,
        output=output,
    )


@dataclass(frozen=True)
class Collected:
    """What `collect` has brought: the run's result so far, whether it `goes_on`, the copy of the
    notebook as it was, if there was one, and the code of cells that are not in it any more."""

    result: Result
    goes_on: bool
    copy: str | None
    homeless: list[str]


def collect(
    name: str,
    notebook: str,
    *,
    hosts: Sequence[str] = (),
    ssh_config: str | None = None,
) -> Collected:
    """Bring what a run has made by now into the file `notebook`, which is made if it is not there.

    `name` is the run's id or its beginning, or its kernel as for `attach`; of several runs of one
    kernel it is the one whose notebook has that name, else the last. Raises `SshpykError`; `NoRun`
    where there is none.
    """
    return wait_for(_collect(name, notebook, hosts, ssh_config))


async def _collect(
    name: str, notebook: str, hosts: Sequence[str], ssh_config: str | None
) -> Collected:
    place, found = await _find_run(name, os.path.basename(notebook), hosts, ssh_config)
    run = runs.Run(place.destination, place.python, id=found["run"])
    replay = Replay()

    def take(data: bytes) -> None:
        replay.feed(data)

    goes_on = await run.read(take, follow=False)
    if replay.notebook is None:
        raise errors.NoRun(host=place.host, id=name)
    copy, homeless = await asyncio.to_thread(_put_into, notebook, replay)
    result = _result(replay, run.id, place.host, notebook, goes_on=goes_on)
    return Collected(result, goes_on, copy, homeless)


async def _find_run(
    name: str, notebook: str, hosts: Sequence[str], ssh_config: str | None
) -> tuple[Place, dict[str, Any]]:
    """Where the run is that a person means. Raises `SshpykError`."""
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        place, name = kernels.place_of_file(path)
        where = [place]
    else:
        where = kernels.places(hosts, ssh_config)
    answers = await asyncio.gather(
        *(runs.ask(place.destination, place.python, {"do": "runs"}) for place in where),
        return_exceptions=True,
    )
    troubles = [answer for answer in answers if isinstance(answer, BaseException)]
    found = [
        (place, one)
        for place, answer in zip(where, answers, strict=True)
        if not isinstance(answer, BaseException)
        for one in answer["runs"]
        if kernels.is_id(one["run"], name)
        or kernels.is_id(one["kernel"], name)
        or one.get("session") == name
    ]
    if not found:
        if troubles:
            raise troubles[0]
        raise errors.NoRun(host=", ".join(place.host for place in where), id=repr(name))
    return max(found, key=lambda one: (one[1]["name"] == notebook, one[1]["at"]))


def _put_into(path: str, replay: Replay) -> tuple[str | None, list[str]]:
    """Write what a run has made: the copy of what was there, and the codes without a cell."""
    assert replay.notebook is not None
    executed = [replay.notebook["cells"][cell] for cell in replay.cells]
    copy, homeless, whole = None, [], replay.notebook
    if os.path.exists(path):
        there = files.read(path)
        cells = [cell for cell in there["cells"] if cell["cell_type"] == "code"]
        homeless = move(executed, cells)
        if there == files.read(path):
            return None, homeless
        copy, whole = files.copy_name(path), there
        shutil.copy2(path, copy)
    try:
        files.write(path, whole)
    except OSError as error:
        raise errors.Unwritable(path=path, reason=error.strerror or str(error)) from None
    return copy, homeless
