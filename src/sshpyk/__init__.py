"""Jupyter kernels on other machines over SSH, as if they were local.

For programs: what is named here is documented in `sshpyk.api`. It is imported when it is used, so
that `import sshpyk` costs nothing.
"""

from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

__all__ = (
    "Collected",
    "Host",
    "Kernel",
    "KernelInfo",
    "Result",
    "SettingsError",
    "SshpykError",
    "add",
    "attach",
    "collect",
    "hosts",
    "run",
    "start",
    "status",
)

if TYPE_CHECKING:
    from .api import Collected as Collected
    from .api import Host as Host
    from .api import Kernel as Kernel
    from .api import KernelInfo as KernelInfo
    from .api import Result as Result
    from .api import add as add
    from .api import attach as attach
    from .api import collect as collect
    from .api import hosts as hosts
    from .api import run as run
    from .api import start as start
    from .api import status as status
    from .errors import SettingsError as SettingsError
    from .errors import SshpykError as SshpykError


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import api

    return getattr(api, name)
