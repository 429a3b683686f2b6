"""One way to run ssh: who calls gives arguments, and gets a result or an error."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, NamedTuple

from .. import errors
from ..aio import within

#: What every ssh of ours is told, whatever the configuration says: never to ask anybody, no
#: terminal, no command of the configuration's, and no forwards but ours.
QUIET = (
    "-o",
    "BatchMode=yes",
    "-o",
    "RequestTTY=no",
    "-o",
    "RemoteCommand=none",
    "-o",
    "PermitLocalCommand=no",
    "-o",
    "ForwardX11=no",
)


#: What no host's name has, and a shell would obey where a ProxyCommand or `Match exec` of the
#: configuration gets the name; ssh itself refuses them since OpenSSH 9.6.
FORBIDDEN = frozenset("'`\"$\\;&<>|(){}")


#: In place of the path of an ssh program: paramiko makes the connections.
PARAMIKO = "paramiko"


class Result(NamedTuple):
    """How a command ended; `stderr` is text for people."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Destination:
    """What ssh is told to reach a host.

    `host` is any string that ssh takes; `ssh` and `ssh_config` are paths, None for the usual
    ones, and `ssh` may be "paramiko"; `node` is the very machine behind `host`, where that name
    stands for several.
    """

    host: str
    ssh: str | None = None
    ssh_config: str | None = None
    node: str | None = None

    def check(self) -> None:
        """Raise a `SettingsError` where no ssh could be started with this."""
        self.check_name()
        if not self.is_by_paramiko and shutil.which(self.program) is None:
            raise errors.NoSsh(ssh=self.program)
        if self.ssh_config is not None and not os.path.isfile(self.config_path):
            raise errors.NoSshConfig(path=self.config_path)

    def check_name(self) -> None:
        """Raise a `SettingsError` where `host` or `node` can't be one."""
        if not self.host:
            raise errors.NoHost()
        user, _, name = self.host.rpartition("@")
        strange = any(c.isspace() or not c.isprintable() for c in self.host)
        if self.host.startswith("-") or name.startswith("-") or strange:
            raise errors.SettingsError(
                text=f"{self.host!r:.200} is not a host: it must not begin with - or contain "
                "spaces. Set `ssh_host_alias` to what you would give to ssh."
            )
        if set(name) & FORBIDDEN or set(user) & FORBIDDEN - {"\\"} or len(self.host) > 512:
            raise errors.SettingsError(
                text=f"{self.host!r:.200} is not a host: the hostname contains invalid characters. "
                "Set `ssh_host_alias` to what you would give to ssh."
            )

        if self.node is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.node):
            raise errors.SettingsError(text=f"{self.node!r:.200} is no name of a machine.")

    @property
    def is_by_paramiko(self) -> bool:
        """Whether no ssh program is used: as `ssh` says, or where there is none."""
        if self.ssh:
            return self.ssh == PARAMIKO
        return shutil.which("ssh") is None and importlib.util.find_spec("paramiko") is not None

    @property
    def program(self) -> str:
        """The ssh program; for people, where none is used."""
        return os.path.expanduser(self.ssh) if self.ssh and self.ssh != PARAMIKO else "ssh"

    @property
    def config_path(self) -> str:
        """The absolute path of `ssh_config`."""
        return os.path.abspath(os.path.expanduser(self.ssh_config or ""))

    def argv(self, *options: str, command: str | None = None) -> list[str]:
        """A command line: ssh, `options`, the host, and a command for its shell."""
        words = [*self._program_and_config, *options, *self._through_host, "--", self._last_hop]
        if command is not None:
            words.append(command)
        return words

    @property
    def _program_and_config(self) -> list[str]:
        return [self.program, *(["-F", self.config_path] if self.ssh_config is not None else [])]

    @property
    def _through_host(self) -> list[str]:
        """The way to the very node: the host's name leads to any of them, and each to all."""
        return [] if self.node is None else ["-o", f"ProxyJump={self.host}"]

    @property
    def _last_hop(self) -> str:
        user, at, _ = self.host.rpartition("@")
        return self.host if self.node is None else f"{user}{at}{self.node}"

    def for_people(self, *options: str, program: str | None = "") -> str:
        """The command with which a person tries the connection in a terminal.

        `program` in place of ssh; None leaves only its arguments.
        """
        words = [] if program is None else [program or self.program]
        words += self._program_and_config[1:]
        return shlex.join([*words, *options, *self._through_host, self._last_hop])

    def for_connect(self) -> str:
        """The arguments of `sshpyk connect` for it."""
        words = ["--ssh", PARAMIKO] if self.ssh == PARAMIKO else []
        words += ["--ssh-config", self.config_path] if self.ssh_config is not None else []
        words += ["--node", self.node] if self.node is not None else []
        return shlex.join([*words, self.host])


async def run(
    argv: list[str],
    *,
    timeout: float,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Result:
    """Run a command to its end and return how it ended; `environment` is added to ours.

    Its output goes to files, because an ssh that ControlPersist has put in the background keeps
    pipes open, and whoever reads them would wait for it. After `timeout` seconds, or when the
    caller is cancelled, it is killed; then raises the built-in TimeoutError, on Python 3.10 too.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
            env={**os.environ, **environment} if environment else None,
        )
        try:
            await within(timeout, _feed(process, stdin))
        except TimeoutError:
            raise TimeoutError(f"{argv[0]} has not ended within {timeout:g} s") from None
        finally:
            await end(process)
        if process.returncode:
            # An ssh that gives up does not always end the one that it was to come through. One
            # that connects needs that one on.
            _kill_session(process)
        return Result(process.returncode or 0, _text(out), _text(err))


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(stdin)
        await process.stdin.drain()
        process.stdin.close()
    await process.wait()


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a child that still runs, and wait for it, even when the caller is being cancelled.

    The child leads a session of its own, and the whole of it goes: an ssh to a jump host, too.
    """
    if process.returncode is None:
        _kill_session(process)
        # A master holds the other ends of its sessions' pipes for as long as something on the
        # host does, and asyncio waits for pipes as well as for the process: so close these. Not
        # the whole transport: that would reap the child behind the back of asyncio's watcher,
        # which then warns of an unknown child and makes up an exit status.
        for descriptor in range(3):
            pipe = process._transport.get_pipe_transport(descriptor)  # type: ignore[attr-defined]  # nothing public has it
            if isinstance(pipe, asyncio.WriteTransport) and pipe.get_write_buffer_size():
                pipe.abort()  # nobody may ever read what waits, and close() would wait with it
            elif pipe is not None:
                pipe.close()
        await asyncio.shield(process.wait())


def _kill_session(process: asyncio.subprocess.Process) -> None:
    # What sudo runs is not ours to kill: it ends with its pipes.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _text(file: IO[bytes], limit: int = 1 << 20) -> str:
    file.seek(0)
    return file.read(limit).decode("utf-8", "replace")
