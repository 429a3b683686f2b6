"""The persistence file (0600): what another process needs to attach to a kernel that was left.

It names the transport, and the host as ssh was told it or the command that leads there, so it works
on any machine with the same access. Files that name no transport mean ssh.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import shlex
import shutil
import stat
from dataclasses import asdict, dataclass, replace
from typing import Any

from jupyter_core.paths import jupyter_runtime_dir, secure_write

from .. import errors
from ..link.address import AgentAddress
from ..schedulers.base import Allocation
from ..server.address import HostServer, ServerAddress, ServerKernelAddress
from ..ssh.command import Destination
from ..transport import answers
from ..transport.entrance import Entrance

PATTERN = "sshpyk-kernel-{}.json"
VERSION = 2

#: Characters of a file; ours have about a thousand.
LARGEST = 1 << 20


@dataclass
class Persistence:
    """Host, agent, and the kernel's keys: "key", "signature_scheme", and CURVE keys if any."""

    destination: Destination | Entrance | Allocation | ServerAddress
    agent: AgentAddress
    keys: dict[str, str]
    kernel_id: str

    def __repr__(self) -> str:
        return f"<Persistence of {self.kernel_id} on {self.destination.host}>"

    def destination_here(
        self, ssh: str | None, ssh_config: str | None
    ) -> Destination | Entrance | Allocation | ServerAddress:
        """The destination on this machine, where the paths in the file may be another's.

        `ssh` and `ssh_config` then come in their place; None for ssh's own.
        """
        there = self.destination
        if isinstance(there, Destination):
            return _here(there, ssh, ssh_config)
        if isinstance(there, ServerAddress):
            return there
        outer = there.outer
        return replace(there, outer=None if outer is None else _here(outer, ssh, ssh_config))

    def write(self, path: str) -> None:
        """Write the file, readable by its owner only."""
        content = {
            "version": VERSION,
            "kernel_id": self.kernel_id,
            "transport": _kind(self.destination),
            "host": asdict(self.destination),
            "agent": asdict(self.agent),
            "keys": self.keys,
        }
        with secure_write(path) as file:
            json.dump(content, file, indent=1)


@dataclass
class ServerPersistence:
    """A kernel of a Jupyter Server; it has no keys, for those of its clients are always new."""

    address: ServerKernelAddress
    kernel_id: str

    def write(self, path: str) -> None:
        """Write the file, readable by its owner only; it has no secret in it."""
        content = {
            "version": VERSION,
            "kernel_id": self.kernel_id,
            "transport": "server",
            "server": asdict(self.address.server),
            "id": self.address.id,
        }
        with secure_write(path) as file:
            json.dump(content, file, indent=1)


def _here(there: Destination, ssh: str | None, ssh_config: str | None) -> Destination:
    if shutil.which(there.program) is None:
        there = replace(there, ssh=ssh)
    if there.ssh_config is not None and not os.path.isfile(there.config_path):
        there = replace(there, ssh_config=ssh_config)
    return there


def default_path(kernel_id: str) -> str:
    """Where the file of a kernel is when nobody says otherwise."""
    name = PATTERN.format(re.sub(r"[^\w.-]", "_", kernel_id))
    return os.path.join(jupyter_runtime_dir(), name)


def all_paths() -> list[str]:
    """The paths of all files that are where they are when nobody says otherwise."""
    return glob.glob(os.path.join(glob.escape(jupyter_runtime_dir()), PATTERN.format("*")))


def forget(id: str) -> None:
    """Remove the files that lead to a kernel that has ended: `id` is what it is called where it
    was, which on a Jupyter Server is not what it is called here."""
    for path in all_paths():
        with contextlib.suppress(errors.SettingsError, OSError):
            saved = load(path)
            address = saved.address if isinstance(saved, ServerPersistence) else saved.agent
            if address.id == id:
                os.unlink(path)


def find(name: str) -> str:
    """The path of the file called `name`: a path, or a name, part of one or a pattern in the
    current or Jupyter's runtime directory; of several the newest.

    Raises `SettingsError`.
    """
    if os.path.isfile(os.path.expanduser(name)):
        return os.path.abspath(os.path.expanduser(name))
    patterns = [name, f"*{name}*", PATTERN.format(f"*{name}*")]
    for directory in (os.getcwd(), jupyter_runtime_dir()):
        for pattern in patterns:
            found = [
                path
                for path in glob.glob(os.path.join(glob.escape(directory), pattern))
                if path.endswith(".json")
            ]
            if found:
                return max(found, key=os.path.getmtime)
    raise errors.SettingsError(
        text=f"There is no persistence file {name!r}, here or in {jupyter_runtime_dir()}."
    )


def read(path: str) -> Persistence:
    """What `Persistence.write` wrote.

    Raises `SettingsError` where the file is none of ours, or of a kernel on a Jupyter Server.
    """
    saved = load(path)
    if isinstance(saved, ServerPersistence):
        raise errors.SettingsError(
            text=f"{path} is of a kernel on the Jupyter Server {saved.address.server.host}, with "
            "which this command can do nothing.",
            advice="Come back to it:",
            command=f"sshpyk-kernel --persistent --existing {shlex.quote(path)}",
        )
    return saved


def load(path: str) -> Persistence | ServerPersistence:
    """What was written of a kernel, wherever it is.

    Raises `SettingsError` where the file is none of ours.
    """
    try:
        # O_NONBLOCK: a pipe that somebody put there must not make us wait.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as file:
            _check_owner(path, os.fstat(file.fileno()))
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"more than {LARGEST} characters")
        content: Any = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r:.20}")
        if content.get("transport") == "server":
            return _of_server(content)
        persistence = Persistence(
            destination=_destination(content.get("transport", "ssh"), content["host"]),
            agent=AgentAddress(**content["agent"]),
            keys=dict(content["keys"]),
            kernel_id=content["kernel_id"],
        )
        _check(persistence)
    except OSError as error:
        raise errors.Unreadable(path=path, reason=error.strerror) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise errors.SettingsError(
            text=f"{path} is not a persistence file of this sshpyk: {type(error).__name__}, "
            f"{error}. Files of sshpyk 1.25 name kernels that only it can attach to."
        ) from None
    return persistence


def _of_server(content: dict[str, Any]) -> ServerPersistence:
    """Raises as `_check`."""
    fields = dict(content["server"])
    there = fields.pop("through", None)
    texts = [*fields.values(), content["id"], content["kernel_id"]]
    if there is not None:
        place = _destination(
            "command" if "command" in there["destination"] else "ssh", there.pop("destination")
        )
        if isinstance(place, ServerAddress):
            raise ValueError("a server through a server")
        fields["through"] = HostServer(place, **there)
        texts += there.values()
        texts += _texts_of(place)
    server = ServerAddress(**fields)
    for text in texts:
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{text!r:.40} where a text should be")
    server.check()
    if not re.fullmatch(r"[\w-]{1,100}", content["id"]):
        raise ValueError(f"the id {content['id']!r:.80}")
    return ServerPersistence(ServerKernelAddress(server, content["id"]), content["kernel_id"])


def _kind(destination: Destination | Entrance | Allocation | ServerAddress) -> str:
    """What a file calls the transport."""
    if isinstance(destination, ServerAddress):
        return "carried"
    if isinstance(destination, Destination):
        return "ssh"
    return "command" if isinstance(destination, Entrance) else "slurm"


def _destination(
    transport: str, host: dict[str, Any]
) -> Destination | Entrance | Allocation | ServerAddress:
    """Raises TypeError or ValueError where this is no destination."""
    if transport == "ssh":
        return Destination(**host)
    if transport == "carried":
        if host.get("through") is not None:
            raise ValueError("a way through a host")
        return ServerAddress(**host)
    if transport not in ("command", "slurm"):
        raise ValueError(f"the transport {transport!r:.40}")
    outer = None if host["outer"] is None else Destination(**host["outer"])
    if transport == "command":
        return Entrance(host["command"], outer)
    return Allocation(**{**host, "outer": outer})


def _check_owner(path: str, status: os.stat_result) -> None:
    """Such a file names a program to run as ssh, so it must be nobody else's work."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file")
    if status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022:
        raise errors.SettingsError(
            text=f"{path} belongs to another user, or others can write it (user {status.st_uid}, "
            f"mode {stat.S_IMODE(status.st_mode):o}), so it is not used.",
            advice="If it is yours:",
            command=f"chmod 600 {shlex.quote(path)}",
        )


def _texts_of(host: Destination | Entrance | Allocation | ServerAddress) -> list[str]:
    """All texts of a destination."""
    if isinstance(host, ServerAddress):
        return [text for text in asdict(host).values() if text is not None]
    ssh = host if isinstance(host, Destination) else host.outer
    texts = [host.command] if isinstance(host, Entrance) else []
    if isinstance(host, Allocation):
        texts += [host.options, host.name, host.job, host.node, host.python]
    if ssh is not None:
        more = (ssh.ssh, ssh.ssh_config, ssh.node)
        texts += [ssh.host, *(text for text in more if text is not None)]
    return texts


def _check(saved: Persistence) -> None:
    """Raise ValueError where a field is of a wrong kind; `SettingsError` or `StrangeAgent` where
    it can't be what it says."""
    host, agent = saved.destination, saved.agent
    texts = [agent.id, agent.token, agent.python, agent.node, agent.boot_id, agent.place]
    texts += [saved.kernel_id, *saved.keys, *saved.keys.values(), *_texts_of(host)]
    if isinstance(host, Allocation) and not isinstance(host.idle, float):
        raise ValueError(f"the time {host.idle!r:.40}")
    for text in texts:
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{text!r:.40} where a text should be")
    if not re.fullmatch(r"[\w-]{1,64}", agent.id):
        raise ValueError(f"the id {agent.id!r:.80}")
    if agent.node and not answers.NODE.fullmatch(agent.node):
        raise ValueError(f"the node {agent.node!r:.80}")
    if not agent.python or agent.python.startswith("-"):
        raise ValueError(f"the Python {agent.python!r:.80}")
    secrets = [agent.token, *saved.keys.values()]
    if not {"key", "signature_scheme"} <= set(saved.keys) or not "".join(secrets).isascii():
        raise ValueError("no keys")
    if isinstance(host, ServerAddress):
        host.check()
    else:
        host.check_name()
    answers.require(host.host, agent.listening, answers.LISTENING, "where it listens")
