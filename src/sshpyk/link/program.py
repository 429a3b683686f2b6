"""A program on a host that is no kernel, with an agent and a link as a kernel has them.

So whatever the agent does for a kernel is there: it lives through outages, its log and its end are
told, it is in `sshpyk ps`, and its ports are reached through the link. `sshpyk port HOST` keeps one
that only sleeps.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .address import AgentAddress
from .link import Link

if TYPE_CHECKING:
    from ..transport.base import Transport
    from ..wire.requests import LaunchRequest
    from .log import KernelLog

#: Does nothing, for 68 years, in less than 1 MB.
SLEEP = ("sleep", str(2**31 - 1))

#: Seconds that a program outlives the silence of a client that vanished.
LEASE = 24 * 3600.0

#: Bytes that the agent keeps for a client that is away: control messages, for it has no channels.
LITTLE = 1024 * 1024


async def start(
    transport: Transport,
    python: str,
    name: str,
    argv: Sequence[str],
    log: KernelLog,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "",
    is_persistent: bool = False,
    timeout: float,
    pythonhome: str | None = None,
) -> Link:
    """Start `argv` on a host, with an agent that `python` runs there; the link to it.

    `name` is what `sshpyk ps` calls it. `env` is for variables, also secret ones; `cwd` a directory
    there. It ends with `Link.end`, or with this process, unless it `is_persistent`. On the I/O
    thread. Raises one of `errors`; nothing is left there then.
    """
    agent = AgentAddress(str(uuid.uuid4()), secrets.token_hex(32), python)
    link = Link(transport, agent, log, pythonhome=pythonhome)
    request: LaunchRequest = {
        "do": "launch",
        "id": agent.id,
        "token": agent.token,
        "streams": "unix",  # until the transport says otherwise
        "session": "",
        "persistent": is_persistent,
        "lease": LEASE,
        "launch_timeout": timeout,
        "carrier": "",  # as well
        "memory_limit": LITTLE,
        "spool_limit": LITTLE,
        "outputs_limit": 0,
        "kernel": {
            "is_kernel": False,
            "kernel_name": name,
            "spec": {"argv": list(argv), "display_name": name, "language": ""},
            "env": {},
            "literal_env": dict(env or {}),
            "local_env": {},
            "cwd": [],
            "remote_cwd": cwd,
            "setup": [],
            "login_shell": False,
            "extra_arguments": [],
            "pythonhome": None,
            "fork_server": False,
            "key": "",
            "signature_scheme": "",
        },
    }
    await link.start(request, {}, timeout=timeout)
    link.ends_with_us = not is_persistent
    return link
