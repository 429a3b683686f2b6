"""A kernel manager for one SSH kernel: of a kernelspec, of a persistence file, or both."""

from __future__ import annotations

import json
import os
from typing import Any

from jupyter_client.kernelspec import KernelSpec, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager

from .. import errors
from ..jupyter import kernelspec
from ..jupyter.provisioner import SSHKernelProvisioner


def make_manager(kernel_name: str, settings: dict[str, Any], **traits: Any) -> AsyncKernelManager:
    """A manager whose provisioner has the `settings` over those of the kernelspec.

    Without a `kernel_name` the settings are all there are. `traits` are the manager's own. Raises
    `SettingsError` where there is no such kernelspec of ours.
    """
    manager = AsyncKernelManager(kernel_name=kernel_name, **traits)
    if kernel_name:
        try:
            spec = manager.kernel_spec
        except NoSuchKernel:
            ours = [one.name for one in kernelspec.all_specs().values() if one.is_ours]
            raise errors.NoSuchKernel(
                name=repr(kernel_name), names=", ".join(ours) or "none"
            ) from None
        assert spec is not None
        stanza = spec.metadata.get("kernel_provisioner") or {}
        if stanza.get("provisioner_name") != kernelspec.PROVISIONER:
            raise errors.SettingsError(
                text=f"{kernel_name} is no SSH kernel. Choose one of `sshpyk list`, or add one "
                "with `sshpyk add HOST`."
            )
    else:
        spec = KernelSpec(argv=["sshpyk-kernel"], display_name="SSH kernel", language="")
        manager._kernel_spec = spec
        stanza = {"provisioner_name": kernelspec.PROVISIONER}
    stanza = {**stanza, "config": {**stanza.get("config", {}), **settings}}
    spec.metadata = {**spec.metadata, "kernel_provisioner": stanza}
    return manager


def provisioner_of(manager: AsyncKernelManager) -> SSHKernelProvisioner:
    """The provisioner of a manager from `make_manager` whose kernel was started."""
    assert isinstance(manager.provisioner, SSHKernelProvisioner)
    return manager.provisioner


def take_connection_file(manager: AsyncKernelManager) -> bool:
    """Use exactly the ports and the key of the manager's connection file, if there is one.

    Returns whether there is. Raises `SettingsError` where it is none.
    """
    path = manager.connection_file
    if not os.path.exists(path):
        return False
    try:
        manager.load_connection_file()
        missing = not manager.session.key or 0 in manager.ports
    except (OSError, ValueError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise errors.SettingsError(
            text=f"The connection file {path} can't be used: {error}. Give the path of a new one."
        ) from None
    if missing:
        raise errors.SettingsError(
            text=f"The connection file {path} has not all ports and a key. Give the path of a new "
            "one."
        )
    if getattr(manager, "curve_publickey", None) is not None:
        # Its clients will speak CURVE and nothing else.
        manager.transport_encryption = "required"
    return True
