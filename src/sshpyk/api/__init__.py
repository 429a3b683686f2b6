"""`import sshpyk`: kernels on hosts, for programs.

All functions wait until they are done, from any thread; from async code call them by
`asyncio.to_thread`. They raise `sshpyk.SshpykError`, whose `code` is stable and whose text says
what to do; `SettingsError`, one of these, is the caller's mistake. Times are in seconds, moments
in seconds since 1970, sizes in bytes.
"""

from ..errors import SettingsError as SettingsError
from ..errors import SshpykError as SshpykError
from .collecting import Collected as Collected
from .collecting import collect as collect
from .kernels import Kernel as Kernel
from .kernels import attach as attach
from .kernels import start as start
from .places import Host as Host
from .places import KernelInfo as KernelInfo
from .places import add as add
from .places import hosts as hosts
from .places import status as status
from .result import Result as Result
from .running import Running as Running
from .running import begin as begin
from .running import run as run
