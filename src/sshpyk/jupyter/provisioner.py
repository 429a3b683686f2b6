"""A kernel provisioner: translates jupyter_client's hooks into calls of a `RemoteKernel`.

The entry point is `sshpyk-provisioner` in the group `jupyter_client.kernel_provisioners`. The
hooks and when they are called: jupyter_client's `KernelProvisionerBase` and `KernelManager`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import os
import re
import secrets
import shlex
import signal
import sys
import uuid
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from jupyter_core.paths import jupyter_runtime_dir
from traitlets import TraitError

from .. import errors
from ..aio import within
from ..link import pacing
from ..link.address import AgentAddress
from ..link.link import Link
from ..link.log import KernelLog
from ..link.thread import io_thread
from ..remotekernel import RemoteKernel
from ..server.address import ServerAddress, ServerKernelAddress
from ..server.trouble import NotCarried
from ..transport import ways
from ..wire.channels import CHANNELS
from . import persistence, running
from .kernelspec import LocalSpec
from .local import LocalSockets
from .places import SHARED
from .settings import Settings, check_names

if TYPE_CHECKING:
    from ..transport.base import Transport
    from ..wire.requests import KernelFacts, KernelRequest, Keys, LaunchRequest

#: What jupyter_client gives to a provisioner, beside the settings of a kernel.json.
GIVEN = frozenset({"kernel_id", "kernel_spec", "parent", "config", "log"})

#: What a kernel gets of the variables that Jupyter hands to a start; the rest is this machine's.
PASSED_ENV = ("JPY_SESSION_NAME", "KERNEL_*")


#: Seconds that a kernel's end is waited for in one question after it.
POLL_WITHIN = 0.1

#: What a persistence file says.
Saved = persistence.Persistence | persistence.ServerPersistence


class SSHKernelProvisioner(Settings, KernelProvisionerBase):  # type: ignore[metaclass]  # it is a subclass
    """Launches a kernel on another machine and manages its life."""

    def __init__(self, **kwargs: Any) -> None:
        spec = kwargs.get("kernel_spec")
        place = os.path.join(getattr(spec, "resource_dir", ""), "kernel.json")
        # traitlets would only warn, where nobody reads it, and the kernel start with a default.
        check_names(place, kwargs.keys() - GIVEN)
        try:
            super().__init__(**kwargs)
        except TraitError as error:
            raise errors.SettingsError(text=f"{place}: {error} Mend it there.") from None
        self.kernel: RemoteKernel | None = None
        self._local: LocalSockets | None = None
        self._has_process = False
        self._is_leaving = False
        self._is_ending = False  # a shutdown was asked for, and the kernel's end is waited for
        self._is_held = False
        self._is_attached = False  # to a kernel that was there, not launched by us
        self._died = False
        self._may_submit = True
        self.persistence_path = ""
        self._launches = 0
        self._log = KernelLog(self.log, str(self.kernel_id), self.host_name)

    @property
    def host_name(self) -> str:
        """The host, as the user calls it."""
        if self.kernel is not None:
            return self.kernel.status.host
        server = self.server_address
        return server.host if server is not None else self.destination.host

    # -- jupyter_client's questions --------------------------------------------------------------

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel to signal, wait for or shut down."""
        return self._has_process

    async def poll(self) -> int | None:
        """None while the kernel runs or is out of sight, else its exit code. From memory, at once.

        But not while a shutdown is waited for: jupyter_client then asks in steps of 0.1 s
        (`KernelManager._async_wait`), of which most of the last would be lost.
        """
        if self._is_ending and self.kernel is not None and self._exit_code() is None:
            with contextlib.suppress(TimeoutError):
                await within(POLL_WITHIN, io_thread().run(self.kernel.exit_seen()))
        return self._exit_code()

    def _exit_code(self) -> int | None:
        if self.kernel is None or self._is_leaving:
            return 0
        exited = self.kernel.exited
        if exited is None:
            return None
        if exited["signum"] is not None:
            return -exited["signum"]
        return 1 if exited["code"] is None else exited["code"]

    async def wait(self) -> int | None:
        """The exit code, once the kernel has exited."""
        kernel = self.kernel
        if kernel is not None and not self._is_leaving:
            await io_thread().run(kernel.exit_seen())
        self._has_process = self._is_ending = False
        return self._exit_code()

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Seconds for all of a shutdown: half of it until SIGTERM, half until SIGKILL."""
        own = self.shutdown_timeout if self.shutdown_timeout is not None else self.shutdown_time
        return recommended if own is None else 2.0 * own

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        """Seconds after which a kernel that runs counts as started."""
        return max(recommended, float(self.launch_timeout))

    async def resolve_path(self, path: str) -> str | None:  # type: ignore[override]  # see below
        """`path` on the host, as the kernel would see it; None where there is no such file.

        Only the host can tell. The base class does not wait, but Jupyter Server, which asks, does.
        """
        return None if self.kernel is None else await io_thread().run(self.kernel.resolve(path))

    @property
    def _facts(self) -> KernelFacts | None:
        return self.kernel.facts if self.kernel is not None else None

    async def get_provisioner_info(self) -> dict[str, Any]:
        """What `load_provisioner_info` needs; JSON, but for the key, which the base class has
        as bytes."""
        info: dict[str, Any] = await super().get_provisioner_info()
        if self.kernel is not None and self.kernel.facts is not None:
            info["persistence_file"] = await self._save(self.kernel)
        return info

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Attach to that kernel at the next `launch_kernel`."""
        await super().load_provisioner_info(provisioner_info)
        self.existing = provisioner_info.get("persistence_file", "")

    # -- start -----------------------------------------------------------------------------------

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Look at what the start is given, bind the local sockets. Contacts nobody.

        `existing` in `kwargs` is the persistence file of a kernel to attach to.
        """
        existing = kwargs.pop("existing", "")
        if existing:  # from who starts it, in place of what its kernelspec says
            self.existing, self.persistent = existing, True
        given = kwargs.get("env")
        kwargs = await super().pre_launch(**kwargs)
        kwargs["env"] = self._passed_env(kwargs["env"], is_given=given is not None)
        server = self.server_address
        shown = self._kernel_name or "(local command)"
        way = (
            [server.host if server.through else server.url]
            if server
            else shlex.split(self.destination.for_people())
        )
        kwargs["cmd"] = [*way, shown]
        if self.kernel_spec is not None:
            # An interrupt comes to `send_signal` then, and the host's own kernelspec decides how
            # it is done: a kernel that knows only signals would never see a message.
            self.kernel_spec.interrupt_mode = "signal"
        if self._local is not None and not self._local.are_there:
            self._local.close()
            self._local = None
        if self._local is None:
            self._local = self._bind()
        elif self.parent is not None:
            # The restarter has set them to 0, and clients may ask before the launch is done.
            for channel, port in self._local.ports.items():
                setattr(self.parent, f"{channel}_port", port)
        # jupyter_client writes its connection file after the launch, and fails where it can't.
        file = getattr(self.parent, "connection_file", "")
        os.makedirs(os.path.dirname(file) or jupyter_runtime_dir(), 0o700, exist_ok=True)
        return kwargs

    def _bind(self) -> LocalSockets:
        manager = self.parent
        if manager is None:
            return LocalSockets("tcp", "127.0.0.1", dict.fromkeys(CHANNELS, 0))
        ports = {channel: int(getattr(manager, f"{channel}_port")) for channel in CHANNELS}
        return LocalSockets(manager.transport, manager.ip, ports)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launch, attach, or start again in place; the connection info for local clients.

        Raises one of `sshpyk.errors`, whose text is what JupyterLab shows. Only where the kernel
        had died by itself it is logged instead, and `poll` goes on to say that it is dead.
        """
        assert self._local is not None
        self._is_leaving = self._is_ending = False
        if any(getattr(self, name) for name in SHARED):
            self.persistent = True
        died, self._died = self._died, False
        try:
            if self.kernel is not None and not self.kernel.is_gone:
                await self._restart(self.kernel, kwargs)
            else:
                await self._start(kwargs, may_submit=not died)
        except BaseException as error:
            if isinstance(error, errors.SshpykError):
                error.fields.update(self._card())
            # jupyter_client's restarter counts no attempt that raises, and would try for ever.
            if died and isinstance(error, errors.SshpykError):
                self._log.error("! the kernel could not be started again: %s", error)
            else:
                if self.kernel is None:
                    self._local.close()
                    self._local = None
                raise
        self._has_process = True
        self.connection_info = self._connection_info()
        if self.persistent and self.kernel is not None:
            await self._save(self.kernel)
        if self._is_attached and pacing.of_server(self.parent) is not None:
            await self._introduce()
        return self.connection_info

    async def _introduce(self) -> None:
        """Have Jupyter Server let browsers in to a kernel that is busy."""
        from .busy import introduce

        local = self._local
        assert local is not None
        if self.kernel is not None and self.kernel.facts and not self.kernel.facts["curve"]:
            address, port = local.ip, local.ports["control"]
            is_tcp = local.transport == "tcp"
            await introduce(
                self.parent, f"tcp://{address}:{port}" if is_tcp else f"ipc://{address}-{port}"
            )

    def _card(self) -> dict[str, str]:
        """Its kernelspec's name, for advice, where that is one that `sshpyk edit` takes."""
        if self.parent is None or self.kernel_spec is None:
            return {}
        name = self.parent.kernel_name
        spec = LocalSpec(name, "", {"metadata": self.kernel_spec.metadata})
        return {"card": name} if spec.is_ours else {}

    async def _start(self, kwargs: dict[str, Any], *, may_submit: bool) -> None:
        # A kernel that has died by itself is started again by nobody's wish, so no queue is joined.
        self._may_submit = may_submit
        old, self.kernel = self.kernel, None
        keys = None  # of clients that were there
        if old is not None:
            await io_thread().run(old.end())
            keys = self._keys()
        self._is_attached = bool(self.existing)
        saved = None
        if self.existing:
            # Not on the I/O thread: the file may be on a disk that hangs, and all kernels share it.
            self.persistence_path, saved = await asyncio.to_thread(_read_saved, self.existing)
            if isinstance(saved, persistence.Persistence):
                self._use_keys(saved.keys)
        made: list[RemoteKernel] = []
        try:
            kernel = await io_thread().run(self._make_kernel(kwargs, saved, keys, made))
            self._take_curve(kernel)
        except BaseException:
            # It may have succeeded in the very moment in which it was cancelled.
            if made:
                await io_thread().run(made[0].end())
            raise
        self.kernel = kernel
        weakref.finalize(self, _abandon, kernel, os.getpid()).atexit = False

    async def _make_kernel(
        self,
        kwargs: dict[str, Any],
        saved: Saved | None,
        keys: Keys | None,
        made: list[RemoteKernel],
    ) -> RemoteKernel:
        """On the I/O thread: launch, or attach to what was `saved`; the kernel, also in `made` when
        it is connected. `keys` are those of clients that were there before."""
        assert self._local is not None
        link: RemoteKernel
        agent = AgentAddress(self._new_id(), secrets.token_hex(32), self._python)
        if isinstance(saved, persistence.Persistence):
            there = saved.destination_here(self.ssh, self.ssh_config)
            if isinstance(there, ServerAddress):
                link = self._make_carried(there, saved.agent)
            else:
                link = self._make(ways.transport(there), saved.agent)
        elif saved is not None:
            link = self._make_of_server(saved.address.server, saved.address.id)
        elif (server := self.server_address) is not None:
            if self.server_way == "plain" or not server.may_carry:
                link = self._make_of_server(server, self.server_kernel_id)
            else:
                link = self._make_carried(server, agent, self.server_kernel_id, keys)
        else:
            link = self._make(self.transport(), agent)
        session = kwargs["env"].get("JPY_SESSION_NAME", "")
        if saved is not None:
            await self._connect(link, None, session)
        else:
            request = self._launch_request(agent, kwargs)
            try:
                await self._connect(link, request, session)
            except NotCarried as error:
                server = self.server_address
                if self.server_way == "carried" or server is None:
                    raise
                self._log.warning("! plain way: %s", error.line)
                link = self._make_of_server(server, self.server_kernel_id)
                await self._connect(link, request, session)
        made.append(link)
        if saved is None:
            link.ends_with_us = not self.persistent
        if link.found_keys is not None:
            self._is_attached = True
            if not link.resigns:
                self._use_keys(link.found_keys)
        return link

    async def _connect(
        self, kernel: RemoteKernel, request: LaunchRequest | None, session: str
    ) -> None:
        """Start `kernel` as `request` says, or attach to it where that is None."""
        assert self._local is not None
        sockets = self._local.duplicates()
        running.add(str(self.kernel_id), kernel, session)
        try:
            if request is None:
                await kernel.attach(sockets, timeout=self.launch_timeout)
            else:
                await kernel.start(request, sockets, timeout=self.launch_timeout)
        except BaseException:
            for sock in sockets.values():
                sock.close()
            raise

    def _make_carried(
        self, address: ServerAddress, agent: AgentAddress, id: str = "", keys: Keys | None = None
    ) -> RemoteKernel:
        """On the I/O thread: a kernel of a Jupyter Server that our agent there attaches to."""
        from ..server.carried import CarriedKernel  # with tornado's clients, as below
        from ..server.transport import transport

        limits = pacing.of_server(self.parent)
        return CarriedKernel(
            transport(address),
            agent,
            self._log,
            limits=limits,
            kernel_id=id,
            options=self.server_options,
            keys=keys,
        )

    def _make(self, transport: Transport, agent: AgentAddress) -> Link:
        """On the I/O thread: a link with this kernel's settings."""
        if self.ssh_verbose is not None:
            transport.login_logs[self._log.info] = self.ssh_verbose
        link = Link(
            transport,
            agent,
            self._log,
            pythonhome=self.remote_pythonhome or None,
            limits=pacing.of_server(self.parent),
        )
        link.queue_timeout = self.queue_timeout
        link.may_submit = self._may_submit
        link.opens_printed = self.open_ports
        return link

    def _make_of_server(self, address: ServerAddress, id: str) -> RemoteKernel:
        """On the I/O thread: a kernel of a Jupyter Server, with this kernel's settings."""
        from ..server.kernel import ServerKernel  # with tornado's clients, which most do without
        from ..server.rest import Server

        return ServerKernel(
            Server(address), self._log, self._keys(), kernel_id=id, options=self.server_options
        )

    async def _restart(self, kernel: RemoteKernel, kwargs: dict[str, Any]) -> None:
        assert self._local is not None
        sockets = self._local.duplicates()
        # A kernel that somebody else launched starts again as it was launched.
        request = None if self._is_attached else self._kernel_request(kwargs)
        # As with a local kernel: alive from when its process is there, not only its sockets.
        self._has_process = True
        await io_thread().run(kernel.restart(request, sockets, timeout=self.launch_timeout))
        self._take_curve(kernel)

    @property
    def _python(self) -> str:
        # A command of this machine's (an empty config, over ssh to loopback) has its Python.
        return self.remote_python or ("python3" if self.remote_kernel_name else sys.executable)

    def _new_id(self) -> str:
        self._launches += 1
        if self._launches == 1 and re.fullmatch(r"[\w-]{8,64}", str(self.kernel_id)):
            return str(self.kernel_id)
        return str(uuid.uuid4())

    def _launch_request(self, agent: AgentAddress, kwargs: dict[str, Any]) -> LaunchRequest:
        return {
            "do": "launch",
            "id": agent.id,
            "token": agent.token,
            "streams": "unix",  # until the transport says otherwise
            "session": self.session,
            "persistent": self.persistent,
            "lease": self.lease,
            "launch_timeout": self.launch_timeout,
            "carrier": "",  # as well
            "memory_limit": self.memory_limit,
            "spool_limit": self.spool_limit,
            "outputs_limit": self.outputs_limit,
            "kernel": self._kernel_request(kwargs),
        }

    def _kernel_request(self, kwargs: dict[str, Any]) -> KernelRequest:
        spec = self.kernel_spec
        own = spec is not None and not self.remote_kernel_name
        env = {**(spec.env if spec is not None else {}), **self.env}
        return {
            "is_kernel": True,
            "kernel_name": self._kernel_name or "local command",
            "spec": self._own_spec() if own else None,
            "env": env,
            "literal_env": kwargs["env"],
            "local_env": _named_in(env),
            "cwd": places_of(kwargs.get("cwd")),
            "remote_cwd": self.remote_cwd,
            "setup": self.setup_lines,
            "login_shell": self.login_shell,
            "extra_arguments": [str(word) for word in kwargs.get("extra_arguments") or []],
            "pythonhome": self.remote_kernel_pythonhome or None,
            "fork_server": self.fork_server,
            **self._keys(),
        }

    @property
    def _kernel_name(self) -> str:
        """The kernelspec there; empty: this one's command is run. No server runs a command."""
        if self.remote_kernel_name or self.server_address is None:
            return self.remote_kernel_name
        return self.parent.kernel_name if self.parent is not None else ""

    def _own_spec(self) -> dict[str, Any]:
        """This machine's kernelspec, for the host to run."""
        content: dict[str, Any] = self.kernel_spec.to_dict()
        argv = list(content["argv"])
        if argv[0] in ("python", "python3", f"python3.{sys.version_info[1]}"):
            argv[0] = sys.executable  # as jupyter_client does
        resources = self.kernel_spec.resource_dir
        content["argv"] = [word.replace("{resource_dir}", resources) for word in argv]
        content["env"] = {}  # it is in the request's
        return content

    def _passed_env(self, env: dict[str, str], *, is_given: bool) -> dict[str, str]:
        patterns = [*(PASSED_ENV if is_given else ()), *self.send_env]
        return {
            name: value
            for name, value in env.items()
            if name != self.token_env
            and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }

    # -- keys ------------------------------------------------------------------------------------

    def _keys(self) -> Keys:
        """The kernel's keys: HMAC, and CURVE where the manager's policy asks for it."""
        manager = self.parent
        if manager is None:
            return {"key": secrets.token_hex(32), "signature_scheme": "hmac-sha256"}
        keys: Keys = {
            "key": manager.session.key.decode("ascii"),
            "signature_scheme": manager.session.signature_scheme,
        }
        if getattr(manager, "transport_encryption", "disabled") != "disabled":
            if manager.curve_publickey is None:
                public, secret = zmq.curve_keypair()
            else:
                # As after a restart: clients hold the keys there are.
                public, secret = manager.curve_publickey, manager.curve_secretkey
            keys["curve_publickey"] = public.decode("ascii")
            keys["curve_secretkey"] = secret.decode("ascii")
            self._curve_keys = (public, secret)
        return keys

    _curve_keys: tuple[bytes, bytes] | None = None

    def _take_curve(self, kernel: RemoteKernel) -> None:
        """Have clients encrypt where the kernel does, as the host's kernelspec says it can."""
        manager = self.parent
        if manager is None or self._curve_keys is None:
            return
        assert kernel.facts is not None
        if kernel.facts["curve"]:
            manager.curve_publickey, manager.curve_secretkey = self._curve_keys
        elif manager.transport_encryption == "required":
            raise errors.NoCurve(name=kernel.facts["name"], host=self.host_name)

    def _use_keys(self, keys: Mapping[str, str]) -> None:
        """Take the keys of a kernel that runs already."""
        manager = self.parent
        if manager is not None:
            manager.session.key = keys["key"].encode("ascii")
            manager.session.signature_scheme = keys["signature_scheme"]
            if "curve_publickey" in keys:
                manager.curve_publickey = keys["curve_publickey"].encode("ascii")
                manager.curve_secretkey = keys["curve_secretkey"].encode("ascii")

    def _connection_info(self) -> KernelConnectionInfo:
        assert self._local is not None
        info: KernelConnectionInfo = {"transport": self._local.transport, "ip": self._local.ip}
        for channel, port in self._local.ports.items():
            info[f"{channel}_port"] = port  # type: ignore[literal-required]  # a TypedDict
        manager = self.parent
        if manager is not None:
            info["key"] = manager.session.key
            info["signature_scheme"] = manager.session.signature_scheme
            if getattr(manager, "curve_publickey", None) is not None:  # since jupyter_client 8.9
                info["curve_publickey"] = manager.curve_publickey.decode("ascii")
                info["curve_secretkey"] = manager.curve_secretkey.decode("ascii")
        return info

    # -- signals ---------------------------------------------------------------------------------

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's process group; an interrupt in the way the kernel takes.

        Never waits for the network: where it is away it is done once it is back.
        """
        kernel = self.kernel
        if kernel is None or signum == 0:
            return
        if signum == signal.SIGINT:
            if self.persistent and getattr(self.parent, "shutting_down", False):
                # jupyter_client interrupts before it shuts down, and sends its shutdown_request
                # before it tells us whether this is a restart. If it is not, the kernel and its
                # job go on: so nothing of either may get through until we know.
                await self._hold(True)
                return
            facts = self._facts
            is_by_message = facts is not None and facts["interrupt_mode"] == "message"
            if is_by_message and self.parent is not None:
                self._send_interrupt_request()
                return
        await io_thread().run(kernel.signal(signum))

    def _send_interrupt_request(self) -> None:
        manager: Any = self.parent
        message = manager.session.msg("interrupt_request", content={})
        manager._connect_control_socket()
        manager.session.send(manager._control_socket, message)

    async def _hold(self, held: bool) -> None:
        if self.kernel is not None and self._is_held != held:
            self._is_held = held
            await io_thread().run(self.kernel.hold(held))

    async def shutdown_requested(self, restart: bool = False) -> None:
        """The manager has sent a shutdown_request, which a persistent kernel must not see."""
        if not self.persistent:
            self._is_ending = True
            return
        if restart:
            if self.kernel is not None:
                await io_thread().run(self.kernel.signal(signal.SIGINT))
            await self._hold(False)
        else:
            self._is_leaving = True

    async def terminate(self, restart: bool = False) -> None:
        """SIGTERM to the kernel's process group."""
        await self._end_process(signal.SIGTERM)

    async def kill(self, restart: bool = False) -> None:
        """SIGKILL to the kernel's process group."""
        self._died = self._exit_code() is not None
        await self._end_process(signal.SIGKILL)

    async def _end_process(self, signum: int) -> None:
        if self.kernel is None or self._is_leaving:
            return
        if self.persistent and self._is_held and self.kernel.exited is None:
            # "now", of which only `cleanup` will tell whether it is a restart; then `_restart`
            # ends the kernel.
            self._is_leaving = True
            return
        self._is_ending = True
        await io_thread().run(self.kernel.signal(signum))

    async def cleanup(self, restart: bool = False) -> None:
        """After a shutdown: end the agent, or leave it; before a restart keep everything."""
        if restart:
            await self._hold(False)
            return
        kernel, self.kernel = self.kernel, None
        self._has_process = False
        if kernel is not None:
            if self._is_leaving:
                await self._save(kernel)
                await io_thread().run(kernel.leave())
            else:
                await io_thread().run(kernel.end())
                if self.persistence_path and os.path.exists(self.persistence_path):
                    os.unlink(self.persistence_path)
        if self._local is not None:
            self._local.close()
            self._local = None

    # -- persistence -----------------------------------------------------------------------------

    async def _save(self, kernel: RemoteKernel) -> str:
        """Write the persistence file; its path."""
        if not self.persistence_path:
            path = self.persistent_file or persistence.default_path(str(self.kernel_id))
            self.persistence_path = os.path.abspath(os.path.expanduser(path))
        keys = {
            name: value.decode("ascii") if isinstance(value, bytes) else str(value)
            for name, value in (kernel.found_keys or self.connection_info).items()
            if name in ("key", "signature_scheme", "curve_publickey", "curve_secretkey")
        }
        where = kernel.address
        saved: Saved
        if isinstance(where, ServerKernelAddress):
            saved = persistence.ServerPersistence(where, str(self.kernel_id))
        else:
            agent = where.agent
            saved = persistence.Persistence(where.destination, agent, keys, str(self.kernel_id))
        await asyncio.to_thread(saved.write, self.persistence_path)
        return self.persistence_path


def _read_saved(name: str) -> tuple[str, Saved]:
    """The path and the content of the persistence file called `name`. Raises `SettingsError`."""
    path = persistence.find(name)
    return path, persistence.load(path)


def _abandon(kernel: RemoteKernel, process: int) -> None:
    """The provisioner is gone and nobody has called `cleanup` (jupyter_server does not for a
    kernel that died too often): say goodbye for it, unless this is a fork of its process."""
    if os.getpid() == process:
        io_thread().submit(kernel.end() if kernel.ends_with_us else kernel.leave())


def _named_in(templates: dict[str, str]) -> dict[str, str]:
    """Local values of the variables that templates name, in case the host has none."""
    names = re.findall(r"\$\{?([A-Za-z_]\w*)", " ".join(templates.values()))
    return {name: os.environ[name] for name in names if name in os.environ}


def places_of(cwd: object) -> list[str]:
    """Where the kernel may start on the host for the local directory `cwd`, the best first.

    None stands for this process's own, where a local kernel would start (`jupyter console`).
    Relative ones are relative to the host's home.
    """
    try:
        path = os.path.abspath(str(cwd or "."))
    except FileNotFoundError:  # this process's own directory was removed
        return []
    home = os.path.expanduser("~")
    if path == home or path.startswith(home.rstrip("/") + "/"):
        return [os.path.relpath(path, home)]
    return [path]
