"""The settings of a kernel, declared once: traits, keys of kernel.json, and options.

Each trait's name is its key in kernel.json (metadata.kernel_provisioner.config); the tag `option`
is its name on the command line where that differs (None: there is none), `metavar` what stands
there for the value, and `help` is said in both places. `sshpyk.cli.options` makes the options.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from traitlets import (
    Bool,
    Dict,
    Float,
    HasTraits,
    Integer,
    List,
    TraitError,
    Unicode,
    Union,
    default,
    validate,
)

from .. import errors
from .places import AnyPlace, ServerPlace
from .traits import from_environment, plain_text

#: Seconds; ten years. More is a mistake, and "for ever" is what `persistent` is for.
LONGEST_LEASE = 315_360_000


class KernelSettings(HasTraits):
    """What a kernel.json may say of a kernel, wherever it runs."""

    remote_python = Unicode(
        help="The Python, 3.8 or later, on the host that runs the agent (default: python3)."
    ).tag(config=True, metavar="PATH")
    remote_kernel_name = Unicode(
        help="The name of the kernelspec on the host (default: this kernelspec's own command; on a "
        "Jupyter Server the kernelspec of the same name)."
    ).tag(config=True, metavar="NAME")
    launch_timeout = Integer(
        30,
        min=1,
        help="Seconds that a start may take, from connecting to the kernel's open sockets.",
    ).tag(config=True, metavar="SECONDS")
    shutdown_timeout = Integer(
        None,
        min=0,
        allow_none=True,
        help="Seconds that the kernel has for a clean shutdown before it is terminated "
        "(default: half of KernelManager.shutdown_wait_time).",
    ).tag(config=True, metavar="SECONDS")
    shutdown_time = Integer(
        None, min=0, allow_none=True, help="The name that sshpyk 1.25 read for shutdown_timeout."
    ).tag(config=True, option=None)
    remote_cwd = Unicode(
        help="The kernel's directory on the host (default: the notebook's, relative to home, "
        "where it exists there; else home)."
    ).tag(config=True, metavar="DIR", option="--cwd")
    env = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Environment variables for the kernel; $NAME in a value is the host's.",
    ).tag(config=True, metavar="NAME=VALUE")
    send_env = List(
        Unicode(), help="Names of local variables that the kernel gets too; * and ? match."
    ).tag(config=True, metavar="NAME")
    setup = Union(
        [List(Unicode()), Unicode()],
        default_value=[],
        help="Shell lines that are run before the kernel: module load, conda activate, source.",
    ).tag(config=True, metavar="LINE")
    login_shell = Bool(
        False, help="Start the kernel from a login shell, which reads the profile."
    ).tag(config=True)
    lease = Float(
        24 * 3600.0,
        help="Seconds that a kernel outlives the silence of a client that vanished.",
    ).tag(config=True, metavar="SECONDS")
    memory_limit = Integer(
        32 * 1024 * 1024,
        min=0,
        help="Bytes of output that the agent keeps in memory while the link is away.",
    ).tag(config=True, metavar="BYTES")
    spool_limit = Integer(
        16 * 1024**3, min=0, help="Bytes that it keeps on the host's disk beyond that."
    ).tag(config=True, metavar="BYTES")
    fork_server = Bool(
        True,
        help="Keep a process on the host from which ipykernels are forked, which makes restarts "
        "and further starts fast (Linux).",
    ).tag(config=True)
    open_ports = Bool(
        True,
        help="Open here the ports whose URLs the kernel prints (Dask, TensorBoard and others).",
    ).tag(config=True)
    persistent = Bool(
        False, help="Leave the kernel running when it is shut down; come back with `existing`."
    ).tag(config=True)
    persistent_file = Unicode(
        help="Where to write what `existing` needs (default: sshpyk-kernel-ID.json in Jupyter's "
        "runtime directory)."
    ).tag(config=True, metavar="PATH")
    existing = Unicode(
        help="Attach to the kernel of this persistence file (a path, or a name or pattern in "
        "Jupyter's runtime directory) instead of starting one."
    ).tag(config=True, metavar="FILE")
    session = Unicode(
        help="The name of a session: a start attaches to the kernel of that name on the host, or "
        "launches it; shutting down leaves it (`sshpyk stop NAME` ends it)."
    ).tag(config=True, metavar="NAME")
    outputs_limit = Integer(
        16 * 1024 * 1024,
        help="Bytes of a kernel's output that are kept on the host while nobody is attached.",
    ).tag(config=True, metavar="BYTES")
    remote_pythonhome = Unicode(
        help="PYTHONHOME while remote_python starts, for slow file systems; not for the kernel."
    ).tag(config=True, metavar="DIR")
    remote_kernel_pythonhome = Unicode(help="PYTHONHOME for the kernel.").tag(
        config=True, metavar="DIR"
    )

    @default("remote_python")
    def _default_remote_python(self) -> str:
        return from_environment("remote_python") or ""

    @default("fork_server")
    def _default_fork_server(self) -> bool:
        return from_environment("fork_server") != "0"

    @default("send_env")
    def _default_send_env(self) -> list[str]:
        return (from_environment("send_env") or "").split()

    @validate(
        "remote_python",
        "remote_kernel_name",
        "remote_cwd",
        "persistent_file",
        "existing",
        "remote_pythonhome",
        "remote_kernel_pythonhome",
    )
    def _check_text(self, proposal: dict[str, Any]) -> str | None:
        return plain_text(proposal)

    @validate("lease")
    def _check_lease(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not 0 <= value <= LONGEST_LEASE:
            raise TraitError(f"lease is {value:g}: it must be seconds, from 0 to {LONGEST_LEASE}.")
        return value

    @validate("env")
    def _check_env(self, proposal: dict[str, Any]) -> dict[str, str]:
        env: dict[str, str] = proposal["value"]
        for name, value in env.items():
            if not name or re.search(r"[=\x00]", name) or "\0" in value:
                raise TraitError(f"env has {name!r:.100}, which no environment can hold.")
        return env

    @property
    def setup_lines(self) -> list[str]:
        """`setup` as lines."""
        return self.setup.splitlines() if isinstance(self.setup, str) else list(self.setup)


class Settings(AnyPlace, ServerPlace, KernelSettings):
    """All that a kernel.json may say."""

    @default("remote_kernel_name")
    def _default_remote_kernel_name(self) -> str:
        return self._from_environment("remote_kernel_name")


def check_names(place: str, names: Iterable[str]) -> None:
    """Raise `SettingsError` where one of `names`, found in the file `place`, is no setting."""
    known = Settings.class_trait_names(config=True)
    for name in sorted(names):
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            meant = f"Did you mean {like[0]}?" if like else f"There are: {', '.join(known)}."
            raise errors.SettingsError(
                text=f"{place}: there is no setting {name!r:.100}. {meant} Mend it there."
            )
