"""The steps of `sshpyk doctor`: the way to one host, and to a kernel on it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..jupyter import kernelspec
from ..schedulers.base import Allocation
from ..ssh.command import Destination
from ..transport.entrance import Entrance
from .steps import CONNECT_TIMEOUT, Step, failed
from .terminal import BAD, GOOD, INFO, UNKNOWN, WARNING, Terminal

if TYPE_CHECKING:
    from ..transport.openssh import OpenSSH

#: Seconds for a host to answer at all, and to run a job.
REACH_TIMEOUT = 10.0
JOB_TIMEOUT = 60.0

#: Bytes that a directory should have left, and seconds that clocks may differ.
LITTLE_SPACE = 100 * 1024 * 1024
CLOCK_DIFFERS = 120.0


#: Steps by their names.
Way = list[tuple[str, Callable[[], Coroutine[Any, Any, list[Step]]]]]


class Walk:
    """The way to one host, with the settings `config`, and to the kernel `spec` if there is one."""

    def __init__(
        self, config: dict[str, Any], spec: kernelspec.LocalSpec | None, *, launch: bool
    ) -> None:
        from ..jupyter.places import destination_of

        self.config = config
        self.spec = spec
        self.launch = launch
        self.destination = destination_of(config)
        #: What ssh reaches: the host, or that on which a command leads on.
        self.ssh: Destination | Entrance | Allocation | None = self.destination
        if not isinstance(self.destination, Destination):
            self.ssh = self.destination.outer
        self.host = self.destination.host
        self.title = f"{spec.name} on {self.host}" if spec else self.host
        self.found: list[Step] = []
        self.inspection: dict[str, Any] = {}
        self._settings: dict[str, list[str]] = {}
        self._content: dict[str, Any] | None = None
        self._python = str(config.get("remote_python") or "python3")
        self._pythonhome = config.get("remote_pythonhome") or None

    @property
    def is_bad(self) -> bool:
        """Whether any step failed."""
        return any(step.mark == BAD for step in self.found)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "host": self.host,
            "kernel": self.spec.name if self.spec else None,
            "ok": not self.is_bad,
            "steps": [asdict(step) for step in self.found],
        }

    def steps(self, terminal: Terminal) -> Iterator[Step]:
        """Walk, and yield each `Step` when it is done."""
        from . import wait_for

        by_ssh: Way = [
            ("SSH", self._program),
            ("SSH Config File", self._config),
            ("Reachable", self._reachable),
            ("Authentication", self._login),
            ("Multiplexing", self._multiplexing),
            ("Remote Shell", self._shell),
        ]
        if isinstance(self.ssh, Destination) and self.ssh.is_by_paramiko:
            by_ssh = [
                ("SSH Config File", self._paramiko),
                ("Reachable", self._reachable),
                ("Authentication", self._paramiko_login),
            ]
        there: Way = [("Remote Python", self._inspect), ("Directories", self._directories)]
        if isinstance(self.destination, Allocation):
            way = [*(by_ssh if self.ssh else []), ("Scheduler", self._scheduler), *there]
        elif isinstance(self.destination, Entrance):
            way = [*(by_ssh if self.ssh else []), ("Command", self._entrance), *there]
            way.append(("Speed", self._speed))
        elif self.destination.is_by_paramiko:
            way = [*by_ssh, *there, ("Speed", self._speed)]
        else:
            way = [*by_ssh, *there, ("Forwarding", self._forwarding)]
        way.append(("Kernel", self._kernels))
        stopped = False
        for what, step in way:
            begun = time.monotonic()
            steps = [Step(UNKNOWN, what, "not checked")]
            if not stopped:
                with terminal.busy(f"{self.host}: {what} …"):
                    try:
                        steps = wait_for(step())
                    except errors.SshpykError as error:
                        steps = [failed(what, error)]
                        stopped = True
                stopped = stopped or any(s.mark == BAD and s.what in REQUIRED for s in steps)
            yield from self._done(steps, time.monotonic() - begun)
        if self._content is not None and self.launch and not stopped:
            with terminal.busy(f"{self.host}: starting a kernel as a trial …"):
                from .trial import trial

                steps = trial(self._content)
            yield from self._done(steps, 0.0)
        else:
            why = "not asked for" if not self.launch else "there is nothing to start"
            yield from self._done([Step(UNKNOWN, "Trial Launch", why)], 0.0)

    def _done(self, steps: list[Step], seconds: float) -> list[Step]:
        # The time of a step is shown once, at its last line, unless each has its own.
        if steps and not any(step.seconds for step in steps):
            steps[-1] = replace(steps[-1], seconds=seconds if steps[-1].mark != UNKNOWN else 0.0)
        self.found += steps
        return steps

    # -- this machine ----------------------------------------------------------------------------

    @property
    def _host(self) -> Destination:
        assert isinstance(self.ssh, Destination)
        return self.ssh

    def _openssh(self) -> OpenSSH:
        """On the I/O thread: the way to the host. Raises `SettingsError`."""
        from ..transport.openssh import transport

        self._host.check()
        return transport(self._host)

    async def _program(self) -> list[Step]:
        from .checks import ssh_program

        check = await ssh_program(self._host)
        return [Step(check.mark, check.what, check.text)]

    async def _config(self) -> list[Step]:
        from ..ssh import config
        from .checks import ssh_config

        found = await ssh_config(self._host)
        steps = [Step(check.mark, check.what, check.text) for check in found]
        if not any(check.mark == BAD for check in found):
            self._settings = await config.settings(self._host)
        return steps

    async def _reachable(self) -> list[Step]:
        def first(key: str) -> str:
            return self._settings.get(key, ["none"])[0]

        for key in ("proxyjump", "proxycommand"):
            if first(key) != "none":
                return [Step(INFO, "Reachable", f"through {first(key)}: the login will show")]
        name, port = first("hostname"), int(first("port"))
        command = self._host.for_people()
        try:
            reader, writer = await within(REACH_TIMEOUT, asyncio.open_connection(name, port))
        except TimeoutError:
            raise errors.Unreachable(host=self.host, command=command) from None
        except ConnectionRefusedError:
            raise errors.ConnectionRefused(host=self.host, command=command) from None
        except OSError as error:
            import socket

            if isinstance(error, socket.gaierror):
                raise errors.UnknownHost(host=self.host, command=command) from None
            raise errors.Unreachable(
                host=self.host, command=command, details=str(error.strerror or error)
            ) from None
        try:
            line = await within(REACH_TIMEOUT, reader.readline())
        except (OSError, ValueError):
            line = b""
        finally:
            writer.close()
        banner = line.decode("utf-8", "replace").strip()
        if not banner.startswith("SSH-"):
            text = f"{name} port {port} is open, but no ssh server answered there"
            return [Step(BAD, "Reachable", text, "Check the port in your ssh configuration.")]
        return [Step(GOOD, "Reachable", f"{name} port {port} ({banner})")]

    # -- the login -------------------------------------------------------------------------------

    async def _login(self) -> list[Step]:
        master = self._openssh().master
        await master.prepare()
        was_there = master.identity() is not None
        known = Step(GOOD, "Host Key", "known")
        try:
            await master.ensure(timeout=CONNECT_TIMEOUT)
        except (errors.HostKeyUnknown, errors.HostKeyChanged) as error:
            return [failed("Host Key", error), Step(UNKNOWN, "Authentication", "not checked")]
        except errors.AuthenticationFailed as error:
            return [known, failed("Authentication", error)]
        if was_there:
            return [Step(GOOD, "Authentication", "connected already")]
        return [known, Step(GOOD, "Authentication", "ssh logged in without a person")]

    async def _paramiko(self) -> list[Step]:
        from ..ssh.hops import way
        from .without_ssh import checks, settings

        found = await asyncio.to_thread(checks, self._host)
        if not any(check.mark == BAD for check in found):
            self._settings = settings(await asyncio.to_thread(way, self._host))
        return [Step(check.mark, check.what, check.text) for check in found]

    async def _paramiko_login(self) -> list[Step]:
        from .remote import transport_to

        try:
            await transport_to(self._host).ensure(timeout=CONNECT_TIMEOUT)
        except (errors.HostKeyUnknown, errors.HostKeyChanged) as error:
            return [failed("Host Key", error), Step(UNKNOWN, "Authentication", "not checked")]
        known = Step(GOOD, "Host Key", "known")
        return [known, Step(GOOD, "Authentication", "logged in without a person")]

    async def _multiplexing(self) -> list[Step]:
        from ..ssh.command import run
        from ..ssh.connect import ANSWER_WITHIN

        master = self._openssh().master
        argv = master.session_argv("exit 0")
        try:
            result = await run(argv, timeout=ANSWER_WITHIN)
        except TimeoutError:
            text = f"the connection does not answer within {ANSWER_WITHIN:g} s"
            fix = f"Close it and try again: sshpyk disconnect {self._host.for_connect()}"
            return [Step(BAD, "Multiplexing", text, fix)]
        if result.status == 255:
            text = f"the host runs no command through the connection: {result.stderr.strip()}"
            fix = "Ask its administrator for MaxSessions of 2 or more."
            return [Step(BAD, "Multiplexing", text, fix)]
        return [Step(GOOD, "Multiplexing", "all commands share one connection")]

    # -- the place -------------------------------------------------------------------------------

    async def _entrance(self) -> list[Step]:
        from ..transport.command import Command
        from .remote import transport_to

        place = transport_to(self.destination)
        assert isinstance(place, Command)
        await within(CONNECT_TIMEOUT, place.ensure(timeout=CONNECT_TIMEOUT))
        noise = await place.enter(timeout=CONNECT_TIMEOUT)
        text = f"{place.entrance.program} leads there; all kernels share one program of ours"
        if noise:
            text += f"; something writes {len(noise)} characters at each start, which are skipped"
        return [Step(INFO if noise else GOOD, "Command", text)]

    async def _scheduler(self) -> list[Step]:
        from ..transport.scheduled import Scheduled
        from .remote import transport_to

        place = transport_to(self.destination)
        assert isinstance(place, Scheduled)
        await within(CONNECT_TIMEOUT, place.ensure(timeout=CONNECT_TIMEOUT))
        name = place.queue.scheduler.name
        job = await place.current()
        if job is None:
            text = f"{name} answers; the allocation {place.allocation.name} is not there"
        else:
            text = f"{name} answers; {place.allocation.name} is job {job.id}, {job.phase.value}"
        return [Step(GOOD, "Scheduler", text)]

    async def _speed(self) -> list[Step]:
        from .measure import measure
        from .remote import transport_to

        found = await measure(transport_to(self.destination), self._python, self._pythonhome)
        if not found.relay:
            return [Step(BAD, "Speed", "no connection passes through it")]
        text = f"{found.round_trip * 1000:.1f} ms round trip, {found.throughput / 1e6:.0f} MB/s"
        way = "the command" if isinstance(self.destination, Entrance) else "one channel for all"
        return [Step(INFO, "Speed", f"of {way}: {text}")]

    # -- the host --------------------------------------------------------------------------------

    async def _shell(self) -> list[Step]:
        from ..ssh.command import run

        mark = "sshpyk-doctor:"
        # A word that no shell reads otherwise, and a variable that all of them know.
        argv = self._openssh().master.session_argv(f"echo {mark}$SHELL")
        try:
            result = await run(argv, timeout=JOB_TIMEOUT)
        except TimeoutError:
            text = f"the shell there runs no command within {JOB_TIMEOUT:g} s"
            fix = f"See what its start-up files wait for: {self._host.for_people()}"
            return [Step(BAD, "Remote Shell", text, fix)]
        before, found, rest = result.stdout.partition(mark)
        if not found:
            output = (result.stdout + result.stderr).strip()[-300:]
            fix = "Ask its administrator for an account that may run commands."
            text = f"no command was run; the shell printed: {output or 'nothing'}"
            return [Step(BAD, "Remote Shell", text, fix)]
        shell = rest.splitlines()[0] if rest.splitlines() else ""
        noise = len(before.strip()) + len(result.stderr.strip())
        if noise:
            text = f"{shell}; its start-up files write {noise} characters, which are skipped"
            fix = "Write only for people in them: test -t 1 before each echo."
            return [Step(INFO, "Remote Shell", text, fix)]
        return [Step(GOOD, "Remote Shell", shell or "runs commands")]

    async def _inspect(self) -> list[Step]:
        from .remote import find_python, inspect, inspect_request, transport_to

        machine = transport_to(self.destination)
        name = str(self.config.get("remote_kernel_name") or "")
        setup = self.config.get("setup") or []
        request = inspect_request(
            [name] if name else [],
            setup=setup.splitlines() if isinstance(setup, str) else setup,
            login_shell=bool(self.config.get("login_shell")),
            environments=True,
        )

        async def ask() -> dict[str, Any]:
            return await inspect(
                machine,
                self._python,
                request,
                connect=CONNECT_TIMEOUT,
                timeout=JOB_TIMEOUT,
                pythonhome=self._pythonhome,
            )

        try:
            self.inspection = await ask()
        except (errors.PythonMissing, errors.PythonTooOld) as error:
            other = await find_python(machine, error)  # raises `error` where there is none
            if self.spec is not None:
                fix = f"sshpyk edit {self.spec.name} --remote-python {other}"
                return [Step(BAD, "Remote Python", error.what, fix)]
            if "remote_python" in self.config:
                return [Step(BAD, "Remote Python", error.what, f"--remote-python {other}")]
            self._python = other
            self.inspection = await ask()
        text = f"{self.inspection['python']} (Python {self.inspection['version']})"
        steps = [
            Step(INFO, "Remote System", self.inspection["system"]),
            Step(GOOD, "Remote Python", text),
        ]
        difference = abs(time.time() - float(self.inspection["time"]))
        if difference > CLOCK_DIFFERS:
            text = f"differs from this machine's by {difference:.0f} s (sshpyk does not mind)"
            steps.append(Step(INFO, "Clock", text))
        for server in self.inspection.get("fork_servers") or []:
            text = f"{server['python']} (process {server['pid']}, {server['memory'] / 1e6:.0f} MB)"
            steps.append(Step(INFO, "Fork Server", text))
        return steps

    async def _directories(self) -> list[Step]:
        steps = []
        for key, fix in (
            ("state", "Make room or mend its permissions, or set XDG_STATE_HOME there."),
            ("tmp", "Ask its administrator, or set TMPDIR there."),
        ):
            place: Mapping[str, Any] = self.inspection[key]
            free = int(place["free"])
            text = f"{place['path']}: {free / 1e9:.1f} GB free" if free >= 0 else place["path"]
            if not place["writable"]:
                text = f"{place['path']}: {place['there']} can't be written"
                steps.append(Step(BAD if key == "state" else WARNING, "Directory", text, fix))
            elif 0 <= free < LITTLE_SPACE:
                steps.append(Step(WARNING, "Directory", text, "Make room: output waits there."))
            else:
                steps.append(Step(GOOD, "Directory", text))
        if self.inspection["kills_processes"]:
            text = "the host ends all processes of a user at logout: kernels die with ssh"
            fix = errors.on_host(self.destination.for_people(), "loginctl enable-linger")
            steps.append(Step(WARNING, "Lingering", text, fix))
        else:
            steps.append(Step(GOOD, "Lingering", "processes may stay after logout"))
        return steps

    async def _forwarding(self) -> list[Step]:
        from .measure import measure

        transport = self._openssh()
        found = await measure(transport, self._python, self._pythonhome)
        families = {"unix": found.unix, "tcp": found.tcp, "relay": found.relay}
        best = next((family for family, works in families.items() if works), None)
        if best is not None:
            transport.found(best)
        steps = []
        if found.unix:
            steps.append(Step(GOOD, "Forwarding", "unix sockets"))
        if found.tcp:
            mark = INFO if found.unix else WARNING
            text = "loopback TCP" if found.unix else "only loopback TCP, which does as well"
            steps.append(Step(mark, "Forwarding", text))
        if found.relay:
            text = "none: all kernels there share one ssh session in its place"
            steps.append(Step(WARNING, "Forwarding", text))
        if not steps:
            error = errors.NoForwarding(host=self.host, command=self.destination.for_people())
            return [failed("Forwarding", error)]
        way = "that session" if found.relay else "ssh alone"
        text = f"{found.round_trip * 1000:.1f} ms round trip, {found.throughput / 1e6:.0f} MB/s"
        return [*steps, Step(INFO, "Speed", f"of {way}: {text}")]

    async def _kernels(self) -> list[Step]:
        return self._own_kernel(self.spec) if self.spec is not None else self._any_kernel()

    def _own_kernel(self, spec: kernelspec.LocalSpec) -> list[Step]:
        steps = [self._argv(spec)]
        trouble = self.inspection["setup_trouble"]
        if trouble:
            fix = f"sshpyk edit {spec.name} {errors.setup_option(trouble)}"
            return [*steps, Step(BAD, "Setup", f"the setup lines fail: {trouble}", fix)]
        name = str(self.config.get("remote_kernel_name") or "")
        kernel = self.inspection["found"].get(name) or {"error": "no-kernelspec", "name": name}
        if "error" in kernel:
            return [*steps, failed("Kernelspec", errors.from_agent(self.host, kernel))]
        steps.append(Step(GOOD, "Kernelspec", f"{name} ({kernel['directory']})"))
        self._content = spec.content
        program = kernel["argv"][0]
        if kernel["program"] is None and not (
            self.config.get("setup") or self.config.get("login_shell")
        ):
            text = f"{program}, which it starts, is not there"
            steps.append(Step(BAD, "Program", text, "Install the kernel again on the host."))
            self._content = None
        elif any("ipykernel" in word for word in kernel["argv"]):
            steps.append(self._ipykernel(kernel))
        return steps

    def _argv(self, spec: kernelspec.LocalSpec) -> Step:
        argv = spec.content.get("argv")
        python = str(argv[0]) if isinstance(argv, list) and argv else ""
        if not os.access(python, os.X_OK):
            text = f"kernel.json names {python or 'no program'}, which is not there any more"
            fix = f"Programs such as VS Code start it: sshpyk edit {spec.name} --renew"
            return Step(WARNING, "Local Command", text, fix)
        return Step(GOOD, "Local Command", python)

    def _ipykernel(self, kernel: Mapping[str, Any]) -> Step:
        path = os.path.realpath(str(kernel["program"]))
        for environment in self.inspection["environments"]:
            if kernel["program"] == environment["python"] or (
                path == os.path.realpath(environment["python"])
                and str(kernel["program"]).startswith(environment["prefix"] + "/")
            ):
                if environment["ipykernel"]:
                    return Step(GOOD, "ipykernel", environment["ipykernel"])
                install = f"{environment['python']} -m pip install ipykernel"
                fix = errors.on_host(self.destination.for_people(), install)
                return Step(BAD, "ipykernel", f"not in {environment['prefix']}", fix)
        return Step(UNKNOWN, "ipykernel", "the trial launch will show")

    def _any_kernel(self) -> list[Step]:
        from .candidates import make

        offered = make(self.inspection)
        ready = [candidate for candidate in offered if candidate.is_ready]
        rest = len(offered) - len(ready)
        name = self.destination.for_connect()
        if not ready:
            text = f"none is ready; {rest} environments could have one"
            fix = f"sshpyk add {name} --install-ipykernel"
            return [Step(WARNING, "Kernels", text, fix)]
        best = next((c for c in ready if c.language.lower() == "python"), ready[0])
        config = {
            **self.config,
            "remote_python": best.python,
            "remote_kernel_name": best.kernel_name,
        }
        self._content = kernelspec.make_content("trial", "trial", best.language, config)
        text = f"{len(ready)} ready, {rest} environments without; see sshpyk add {name}"
        return [Step(GOOD, "Kernels", text)]


#: Steps without which the rest can't be checked.
REQUIRED = {
    "SSH",
    "SSH Config File",
    "SSH Host Alias",
    "Command",
    "Reachable",
    "Host Key",
    "Authentication",
    "Multiplexing",
    "Remote Shell",
    "Remote Python",
}
