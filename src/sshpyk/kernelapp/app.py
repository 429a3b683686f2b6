"""The program behind `sshpyk-kernel`: options, signals, and the life of its kernel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import sys
import uuid
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.application import JupyterApp, base_aliases, base_flags
from traitlets import Bool, CUnicode, Enum, Integer, Unicode
from traitlets.config.loader import ConfigError

from .. import errors
from ..jupyter.provisioner import SSHKernelProvisioner
from ..link.thread import io_thread
from ..remotekernel import RemoteKernel, Status
from ..version import __version__
from .actions import Action
from .console import Console
from .manager import make_manager, provisioner_of, take_connection_file

if TYPE_CHECKING:
    from ..wire.requests import Exit


#: SIGTERM and SIGHUP end this program, and a persistent kernel goes on; SIGUSR2 ends any.
SIGNALS = {
    signal.SIGINT: Action.INTERRUPT,
    signal.SIGTERM: Action.END,
    signal.SIGHUP: Action.END,
    signal.SIGUSR1: Action.RESTART,
    signal.SIGUSR2: Action.SHUTDOWN,
    signal.SIGQUIT: Action.LEAVE,
}

DESCRIPTION = """Run one SSH kernel, until it ends or you leave it.

Signals: SIGINT (Ctrl+C) interrupts the kernel; SIGQUIT (Ctrl+\\) leaves it running; SIGTERM and
SIGHUP shut it down unless it is persistent; SIGUSR2 shuts it down in any case; SIGUSR1 restarts
it. Ctrl+D shows a menu.
"""

EXAMPLES = """
sshpyk-kernel --kernel NAME                  start the kernel of a kernelspec
sshpyk-kernel --kernel NAME --persistent     … that goes on when this program ends
sshpyk-kernel --existing FILE                come back to it, from its persistence file
"""

LAUNCH_CANCELLED = 130


class SSHKernelApp(JupyterApp):
    """Options of `sshpyk-kernel`, as sshpyk 1.25 had them."""

    name = "sshpyk-kernel"
    version = __version__
    description = DESCRIPTION
    examples = EXAMPLES
    classes = [AsyncKernelManager, SSHKernelProvisioner]  # noqa: RUF012  # traitlets' own way

    kernel_name = Unicode(help="The kernelspec to start (see `sshpyk list`).").tag(config=True)
    existing = Unicode(
        help="Come back to the kernel of this persistence file: a path, or a name or pattern in "
        "the current or Jupyter's runtime directory."
    ).tag(config=True)
    persistent = Bool(
        False, help="Leave the kernel running when this program ends; come back with --existing."
    ).tag(config=True)
    persistent_file = Unicode(help="Where to write the persistence file.").tag(config=True)
    leave = Bool(False, help="Start the kernel, leave it running, and end at once.").tag(
        config=True
    )
    poll_interval = Integer(
        1000,
        help="Milliseconds between looks whether the program that started this one is there. "
        "(What the kernel does is told by its host, not polled.)",
    ).tag(config=True)
    ssh_verbose = Enum(
        ["v", "vv", "vvv"], None, allow_none=True, help="Have ssh say more in the log."
    ).tag(config=True)
    capture_stdin = Bool(True, help="Show the menu at Ctrl+D.").tag(config=True)
    session = CUnicode(help="The name of a session on the host to come back to or begin.").tag(
        config=True
    )

    aliases: dict[Any, Any] = {  # noqa: RUF012
        **base_aliases,
        ("k", "kernel"): "SSHKernelApp.kernel_name",
        ("e", "existing"): "SSHKernelApp.existing",
        ("f", "persistent-file"): "SSHKernelApp.persistent_file",
        "persistent_file": "SSHKernelApp.persistent_file",
        ("i", "poll-interval"): "SSHKernelApp.poll_interval",
        "poll_interval": "SSHKernelApp.poll_interval",
        "ssh-verbose": "SSHKernelApp.ssh_verbose",
        "ssh_verbose": "SSHKernelApp.ssh_verbose",
        "session": "SSHKernelApp.session",
        "connection-file": "KernelManager.connection_file",
    }
    flags: dict[Any, Any] = {  # noqa: RUF012
        **base_flags,
        ("p", "persistent"): (
            {"SSHKernelApp": {"persistent": True}},
            "Leave the kernel running when this program ends.",
        ),
        ("l", "leave"): (
            {"SSHKernelApp": {"leave": True}},
            "Start the kernel, leave it running, and end at once.",
        ),
        ("d", "debug"): ({"Application": {"log_level": 10}}, "Log everything."),
    }

    def _log_level_default(self) -> int:
        return logging.WARNING

    @property
    def provisioner_config(self) -> dict[str, Any]:
        """The settings that were given here, over the kernelspec's."""
        given = {
            "existing": self.existing,
            "persistent": self.persistent or self.leave,
            "persistent_file": self.persistent_file,
            "ssh_verbose": self.ssh_verbose,
            "session": self.session,
        }
        return {name: value for name, value in given.items() if value}


def unquote(argv: list[str]) -> list[str]:
    """`argv` as sshpyk 1.25 wrote it into kernel.json: a value in quotes, inside one word."""
    words = []
    for word in argv:
        name, equals, value = word.partition("=")
        if equals and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            word = f"{name}={value[1:-1]}"
        words.append(word)
    return words


def run(argv: list[str] | None) -> int:
    """Read the options and run; the exit status."""
    app = SSHKernelApp()
    try:
        app.initialize(unquote(sys.argv[1:] if argv is None else argv))
        # Not by the logger's own level, which is always DEBUG.
        if app.log_level not in (logging.NOTSET, logging.DEBUG):
            app.log.addFilter(hide_tracebacks)
        return asyncio.run(Life(app).run())
    except (errors.SshpykError, ConfigError) as error:
        print(f"sshpyk-kernel: {error}", file=sys.stderr)
        return 2 if isinstance(error, (errors.SettingsError, ConfigError)) else 1


def hide_tracebacks(record: logging.LogRecord) -> bool:
    """A log filter: jupyter_client logs how a start failed; we say it, in a sentence."""
    return not (record.exc_info and isinstance(record.exc_info[1], errors.SshpykError))


class Life:
    """One run of the program: start, serve what is asked, end."""

    def __init__(self, app: SSHKernelApp) -> None:
        self.app = app
        self.console = Console(self.ask, captures=app.capture_stdin)
        self._actions: asyncio.Queue[Action] = asyncio.Queue()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_acting = False
        self._followed: RemoteKernel | None = None  # whose status the status line follows
        if not (app.kernel_name or app.existing):
            raise errors.SettingsError(
                text="Which kernel? Give --kernel NAME (see `sshpyk list`) or --existing FILE."
            )
        self.manager = make_manager(app.kernel_name, app.provisioner_config, parent=app)
        if not self.manager.connection_file:
            path = os.path.join(app.runtime_dir, f"kernel-{uuid.uuid4()}.json")
            self.manager.connection_file = path
        self.manager.connection_file = os.path.abspath(self.manager.connection_file)
        self.is_plain = take_connection_file(self.manager) or "JPY_PARENT_PID" in os.environ
        self._key = self.manager.session.key

    def ask(self, action: Action) -> None:
        """Have something done, in its turn."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()  # there is nothing yet to interrupt or to leave
        else:
            self._actions.put_nowait(action)

    async def run(self) -> int:
        """Until the end; the exit status."""
        loop = asyncio.get_running_loop()
        for signum, action in SIGNALS.items():
            loop.add_signal_handler(signum, self.ask, action)
        try:
            if not await self._start():
                return LAUNCH_CANCELLED
            return await self._serve()
        finally:
            for task in self._tasks:
                task.cancel()
            self.console.close()
            with contextlib.suppress(Exception):
                self.manager.context.destroy(linger=100)

    async def _start(self) -> bool:
        """Start or attach; False where it was called off."""
        self.console.begin()
        self.console.status("starting the kernel")
        self._starting = asyncio.ensure_future(
            self.manager.start_kernel(cwd=os.getcwd(), env=dict(os.environ))
        )
        try:
            await self._starting
        except asyncio.CancelledError:
            self.console.say("Called off.")
            return False
        if self.is_plain and self.manager.session.key != self._key:
            # The program that started us signs with the key that it chose, and this kernel has
            # another since it was launched.
            await self._end(self._provisioner.persistent)
            raise errors.SettingsError(
                text="This kernel runs already, with a key of its own, so a program that brings "
                "its own connection file can't use it. Use Jupyter, or `sshpyk attach`."
            )
        self._announce()
        return True

    async def _serve(self) -> int:
        """Do what is asked until the end of the kernel or of our stay; the exit status."""
        if self.app.leave:
            return await self._leave()
        self._follow_status()
        self._tasks += [asyncio.create_task(self._watch_exit())]
        if self.is_plain:
            self._tasks += [asyncio.create_task(self._watch_parent())]
        while True:
            action = await self._actions.get()
            self._is_acting = True
            try:
                status = await self._do(action)
            except errors.SshpykError as error:
                self.console.say(str(error))
                status = None
            finally:
                self._is_acting = False
            if status is not None:
                return status
            exited = self._kernel.exited if self._kernel is not None else None
            if exited is not None:
                await self.manager.shutdown_kernel(now=True)  # the agent, and the files here
                return self._exited(exited)

    async def _do(self, action: Action) -> int | None:
        """Do it; the exit status where that is the end."""
        self.console.say(action.value[0].upper() + action.value[1:] + " …")
        if action is Action.INTERRUPT:
            await self.manager.interrupt_kernel()
        elif action is Action.RESTART:
            await self.manager.restart_kernel()
            self._follow_status()
        elif action is Action.LEAVE:
            return await self._leave()
        elif action is Action.SHUTDOWN:
            return await self._end(persistent=False)
        elif self._kernel is None or self._kernel.exited is None:
            return await self._end(self._provisioner.persistent)
        return None

    async def _leave(self) -> int:
        return await self._end(persistent=True)

    async def _end(self, persistent: bool) -> int:
        """Shut down, or leave where `persistent`."""
        provisioner = self._provisioner
        provisioner.persistent = persistent
        host = provisioner.host_name
        await self.manager.shutdown_kernel()
        if persistent:
            path = shlex.quote(provisioner.persistence_path)
            self.console.say(f"The kernel goes on, on {host}. Come back: {self._come_back(path)}")
        else:
            self.console.say("The kernel has ended.")
        return 0

    # -- what goes on ----------------------------------------------------------------------------

    @property
    def _provisioner(self) -> SSHKernelProvisioner:
        return provisioner_of(self.manager)

    @property
    def _kernel(self) -> RemoteKernel | None:
        return self._provisioner.kernel

    async def _watch_exit(self) -> None:
        """End when the kernel has ended by itself."""
        while True:
            if self._kernel is not None:
                await io_thread().run(self._kernel.exit_seen())
            if not self._is_acting:
                self._actions.put_nowait(Action.END)
                return
            await asyncio.sleep(0.1)  # a restart: the next process

    def _exited(self, exited: Exit) -> int:
        self.console.say(f"The kernel has ended ({errors.describe_exit(exited)}).")
        if exited["code"] == 0:
            return 0
        if exited["stderr"]:
            self.console.say(exited["stderr"])
        return 1

    async def _watch_parent(self) -> None:
        """End when the program that started us is gone."""
        parent = os.getppid()
        while os.getppid() == parent:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(max(0.05, self.app.poll_interval / 1000))
        self.ask(Action.END)

    def _follow_status(self) -> None:
        """Have the status line follow the kernel's status."""
        kernel = self._kernel
        if kernel is None:
            return
        loop = asyncio.get_running_loop()

        def show(status: Status) -> None:
            with contextlib.suppress(RuntimeError):  # the program ends
                loop.call_soon_threadsafe(self.console.status, self.console.describe(status))

        if kernel is not self._followed:
            self._followed = kernel
            kernel.subscribe(show)
        show(kernel.status)
        if self.console.is_terminal:
            self._spawn(io_thread().run(kernel.watch_activity()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    def _announce(self) -> None:
        provisioner = self._provisioner
        file = self.manager.connection_file
        say = self.console.say
        facts = self._kernel.facts if self._kernel is not None else None
        name = facts["name"] if facts is not None else ""
        say(f"The kernel {name} runs on {provisioner.host_name}.")
        say(f"Connection file: {file}")
        say(f"  To connect: jupyter console --existing {shlex.quote(file)}")
        if provisioner.persistent:
            path = provisioner.persistence_path
            say(f"Persistence file: {path}")
            say(f"  To come back: {self._come_back(shlex.quote(path))}")
        if self.console.captures:
            say("Ctrl+C interrupts the kernel, Ctrl+\\ leaves it running, Ctrl+D shows a menu.")

    def _come_back(self, path: str) -> str:
        return f"sshpyk-kernel --persistent --existing {path}"
