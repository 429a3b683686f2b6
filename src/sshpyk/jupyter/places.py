"""The kinds of place where a kernel can run: each declares its own settings.

Which kind a kernel.json means is told by the settings that it has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traitlets import Bool, Enum, HasTraits, Unicode, default, validate

from .traits import from_environment, plain_text

if TYPE_CHECKING:
    from ..ssh.command import Destination
    from ..transport.base import Transport


class OpenSSHPlace(HasTraits):
    """A host that the ssh program reaches."""

    ssh_host_alias = Unicode(
        help="The host: anything that ssh accepts (alias, name, user@name)."
    ).tag(config=True, metavar="HOST")
    ssh_config = Unicode(
        None, allow_none=True, help="Path of the ssh configuration (ssh's own default: none given)."
    ).tag(config=True, metavar="PATH")
    ssh = Unicode(
        None, allow_none=True, help="Path of the ssh program (default: ssh on PATH)."
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

    @property
    def destination(self) -> Destination:
        """What ssh is told."""
        from ..ssh.command import Destination  # which takes asyncio along

        return Destination(self.ssh_host_alias, self.ssh, self.ssh_config)

    def transport(self) -> Transport:
        """The way there; call it on the I/O thread. Raises `SettingsError`."""
        from ..transport.openssh import transport  # which the commands' options do without

        self.destination.check()
        return transport(self.destination)

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
