"""The kinds of place where a kernel can run: each declares its own settings.

Which kind a kernel.json means is told by the settings that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, Unicode, default, validate

from .traits import from_environment, plain_text

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..server.address import ServerAddress
    from ..ssh.command import Destination
    from ..transport.base import Transport
    from ..transport.entrance import Entrance


#: What names a place: a kernelspec that has one of these gets none from the environment.
WHERE = ("ssh_host_alias", "via", "slurm", "server", "server_url")


#: What makes a kernel others', too: shutting down leaves it, whatever `persistent` says.
SHARED = ("session", "server_kernel_id")


class Placed(HasTraits):
    """Knows whether a place was named, or is for the environment to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._is_placed = any(
            self.has_trait(name) and self.trait_has_value(name) and getattr(self, name)
            for name in WHERE
        )

    def _from_environment(self, name: str) -> str:
        """What the environment says, where no place was named: a card of another server must not be
        shown the token of this one, nor one of a host be looked for inside of something."""
        return "" if self._is_placed else from_environment(name) or ""


class OpenSSHPlace(Placed):
    """A host that the ssh program reaches."""

    ssh_host_alias = Unicode(
        help="The host: anything that ssh accepts (alias, name, user@name)."
    ).tag(config=True, metavar="HOST")
    ssh_config = Unicode(
        None, allow_none=True, help="Path of the ssh configuration (ssh's own default: none given)."
    ).tag(config=True, metavar="PATH")
    ssh = Unicode(
        None,
        allow_none=True,
        help="Path of the ssh program (default: ssh on PATH; paramiko where there is none), or "
        "paramiko, which needs none.",
    ).tag(config=True, metavar="PATH")
    ssh_verbose = Enum(
        ["v", "vv", "vvv"], None, allow_none=True, help="Have ssh say more in the log."
    ).tag(config=True)
    independent_local_processes = Bool(
        True, help="Accepted as sshpyk 1.25 wrote it; ssh processes are always independent."
    ).tag(config=True, option=None)
    raise_on_ssh_config_error = Bool(
        False, help="Accepted as sshpyk 1.25 wrote it; only what ssh refuses is an error."
    ).tag(config=True, option=None)

    @default("ssh_host_alias")
    def _default_ssh_host_alias(self) -> str:
        return from_environment("ssh_host_alias") or ""

    @default("ssh_config")
    def _default_ssh_config(self) -> str | None:
        return from_environment("ssh_config")

    @default("ssh")
    def _default_ssh(self) -> str | None:
        return from_environment("ssh")

    @validate("ssh_config", "ssh")
    def _check_path(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)


class CommandPlace(Placed):
    """A place that a command leads to, here or on a host."""

    via = Unicode(
        help="In place of a host: the command that runs what stands behind it in the kernel's "
        "place (docker exec -i NAME)."
    ).tag(config=True, metavar="COMMAND")
    inside = Unicode(
        help="The same on the host: the kernel runs in what this command leads to from there."
    ).tag(config=True, metavar="COMMAND")

    @default("via")
    def _default_via(self) -> str:
        return self._from_environment("via")

    @default("inside")
    def _default_inside(self) -> str:
        return self._from_environment("inside")

    @validate("via", "inside")
    def _check_command(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)


class ScheduledPlace(Placed):
    """An allocation of a cluster's scheduler, asked for on a host, or on this machine."""

    slurm = Unicode(
        None,
        allow_none=True,
        help="The kernel runs in an allocation of Slurm's, asked for with these options of "
        "sbatch's by their long names (partition=gpu gres=gpu:1 time=4:00:00); the host is the "
        "login node, none is this machine.",
    ).tag(config=True, metavar="OPTIONS")
    allocation = Unicode(
        help="The allocation's name: kernels of one name share it (default: made of the options)."
    ).tag(config=True, metavar="NAME")
    queue_timeout = Float(
        60.0, min=0.0, help="Seconds that a start waits for an allocation that is queued."
    ).tag(config=True, metavar="SECONDS")
    allocation_idle = Float(
        1800.0, min=1.0, help="Seconds without kernels after which an allocation ends."
    ).tag(config=True, metavar="SECONDS")

    @validate("slurm", "allocation")
    def _check_scheduled(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)


class AnyPlace(OpenSSHPlace, CommandPlace, ScheduledPlace):
    """A place of any kind."""

    @property
    def destination(self) -> Destination | Entrance | Allocation:
        """What leads there."""
        return destination_of({name: getattr(self, name) for name in NAMES if self.has_trait(name)})

    def transport(self) -> Transport:
        """The way there; call it on the I/O thread. Raises `SettingsError`."""
        from ..transport.ways import transport  # which the commands' options do without

        destination = self.destination
        destination.check()
        return transport(destination)


#: The settings that tell where a place is.
NAMES: tuple[str, ...] = ("ssh_host_alias", "ssh", "ssh_config", "via", "inside")
NAMES += ("slurm", "allocation", "allocation_idle", "remote_python")


def destination_of(settings: Mapping[str, Any]) -> Destination | Entrance | Allocation:
    """What leads to the place that the settings of a kernel.json mean."""
    from ..ssh.command import Destination  # which takes asyncio along
    from ..transport.entrance import Entrance

    given = {name: settings.get(name) for name in NAMES[:5]}
    host, ssh, ssh_config, via, inside = (
        value if isinstance(value, str) and value else None for value in given.values()
    )
    if via is not None:
        return Entrance(via)
    if isinstance(settings.get("slurm"), str):
        return _allocation_of(settings, Destination(host, ssh, ssh_config) if host else None)
    there = Destination(host or "", ssh, ssh_config)
    return there if inside is None else Entrance(inside, there)


def _allocation_of(settings: Mapping[str, Any], outer: Destination | None) -> Allocation:
    from ..schedulers.base import Allocation, default_name

    slurm, name, python = (
        value if isinstance(value, str) else ""
        for value in (settings.get(key) for key in ("slurm", "allocation", "remote_python"))
    )
    idle = settings.get("allocation_idle")
    return Allocation(
        slurm,
        name or default_name(slurm),
        outer,
        python=python or "python3",
        idle=float(idle) if isinstance(idle, (int, float)) else Allocation.idle,
    )


class ServerPlace(Placed):
    """A Jupyter Server, in place of a host, or of one."""

    server = Unicode(
        help="Have kernels run in a Jupyter Server of the host: the port of one that runs there, "
        "or a directory in which one is found or started, or any."
    ).tag(config=True, metavar="PORT|DIRECTORY", bare="any")
    server_url = Unicode(
        help="In place of a host: the URL of a Jupyter Server, of a user's on a JupyterHub, or of "
        "a gateway. Tokens and passwords are kept elsewhere: `sshpyk connect URL`."
    ).tag(config=True, metavar="URL")
    server_kernel_id = Unicode(
        help="The id of a kernel that runs on the server: a start attaches to it, and shutting "
        "down leaves it."
    ).tag(config=True, metavar="ID", option="--kernel-id")
    server_way = Enum(
        ["auto", "carried", "plain"],
        "auto",
        help="How a kernel of a Jupyter Server is reached: carried by a helper kernel beside it, "
        "so that nothing is lost, or by the plain websocket (default: carried where that works).",
    ).tag(config=True)
    server_options = Dict(
        help="What a JupyterHub asks for on its page before it starts the server (profile=small)."
    ).tag(config=True, metavar="NAME=VALUE")
    token_env = Unicode(
        help="The local environment variable that has the token for the server."
    ).tag(config=True, metavar="NAME")
    token_command = Unicode(help="The local command that prints the token for the server.").tag(
        config=True, metavar="COMMAND"
    )
    ca = Unicode(
        help="The certificates (PEM) of the authorities that may vouch for the server (default: "
        "the system's)."
    ).tag(config=True, metavar="FILE")
    client_cert = Unicode(help="The certificate (PEM) to show to the server.").tag(
        config=True, metavar="FILE"
    )
    client_key = Unicode(help="Its private key (PEM), if that is in a file of its own.").tag(
        config=True, metavar="FILE"
    )

    @default("server_url")
    def _default_server_url(self) -> str:
        return self._from_environment("server_url")

    @default("server_way")
    def _default_server_way(self) -> str:
        return self._from_environment("server_way") or "auto"

    @default("token_env")
    def _default_token_env(self) -> str:
        return self._from_environment("token_env")

    @default("token_command")
    def _default_token_command(self) -> str:
        return self._from_environment("token_command")

    @default("ca")
    def _default_ca(self) -> str:
        return self._from_environment("ca")

    @default("client_cert")
    def _default_client_cert(self) -> str:
        return self._from_environment("client_cert")

    @default("client_key")
    def _default_client_key(self) -> str:
        return self._from_environment("client_key")

    @property
    def server_address(self) -> ServerAddress | None:
        """The server, if this is the place."""
        names = (*SERVER_NAMES, *NAMES, "server", "remote_python")
        return server_of({name: getattr(self, name, None) for name in names})

    @validate("server", "server_url", "server_kernel_id", "token_env", "token_command")
    def _check_server_text(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)

    @validate("ca", "client_cert", "client_key")
    def _check_file(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)


#: The settings that tell where a server is, and how one gets in.
SERVER_NAMES = ("server_url", "ca", "client_cert", "client_key", "token_env", "token_command")


def server_of(settings: Mapping[str, Any]) -> ServerAddress | None:
    """The server that the settings of a kernel.json mean; None where they mean a host."""
    from ..server.address import HostServer, ServerAddress

    wanted = settings.get("server")
    if isinstance(wanted, str) and wanted and not settings.get("server_url"):
        python = str(settings.get("remote_python") or "python3")
        return ServerAddress(
            "http://localhost/", through=HostServer(destination_of(settings), python, wanted)
        )
    given = (settings.get(name) for name in SERVER_NAMES)
    url, ca, cert, key, env, command = (value if isinstance(value, str) else "" for value in given)
    return ServerAddress(url, ca, cert, key, env, command) if url else None
