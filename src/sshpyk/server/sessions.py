"""A kernel on a server for a start: the one of a session, or a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import errors
from . import trouble

if TYPE_CHECKING:
    from ..link.log import KernelLog
    from ..wire.requests import LaunchRequest
    from .rest import Server

#: Seconds for the server to start a kernel, end it, or start it again: it waits for the kernel.
SLOW = 90.0

#: In a session's path there, so that whoever sees it knows where it comes from.
PREFIX = "sshpyk-"


class Found(NamedTuple):
    """A kernel: its id, the name of its kernelspec there, and whether it is ours to end if the
    start fails."""

    id: str
    name: str
    is_ours: bool


async def find_or_create(server: Server, request: LaunchRequest, log: KernelLog) -> Found:
    """The kernel of the session that is wanted, or a new one. Raises one of `trouble`."""
    wanted = request["kernel"]
    session = request["session"]
    if session:
        for entry in await server.sessions():
            if session in (entry.get("name"), entry.get("path")):
                log.info("= the session %s is there", session)
                return _found(server, entry["kernel"], is_ours=False)
    name = wanted["kernel_name"]
    env = {**wanted["env"], **wanted["literal_env"]}
    for_gateway = {key: value for key, value in env.items() if key != "JPY_SESSION_NAME"}
    own = session or PREFIX + request["id"]
    path = "/".join(filter(None, (wanted["remote_cwd"].strip("/"), own)))
    try:
        if for_gateway:
            log.info("> env: gateways take it, a plain Jupyter Server does not")
            model: dict[str, Any] = {"name": name, "path": path, "env": for_gateway}
            kernel = await server.ask("POST", "kernels", body=model, timeout=SLOW)
        else:
            # Its name shows in the server's own lists.
            model = {"path": path, "name": own, "type": "sshpyk", "kernel": {"name": name}}
            answer = await server.ask("POST", "sessions", body=model, timeout=SLOW)
            kernel = answer.get("kernel") if isinstance(answer, dict) else None
    except LookupError:
        raise await _no_kernelspec(server, name) from None
    except trouble.ServerFailed:
        if name in await server.kernelspecs():
            raise
        raise await _no_kernelspec(server, name) from None
    # A session of that name may have been there: it is not ours to end if the start fails.
    return _found(server, kernel, is_ours=not session)


async def restart(server: Server, kernel_id: str) -> None:
    """Have the server start a kernel again. Raises one of `trouble`, and `LookupError` where it is
    not there."""
    try:
        await server.ask("POST", "kernels", kernel_id, "restart", timeout=SLOW)
    except trouble.ServerFailed:
        await server.ask("GET", "kernels", kernel_id)  # to one that is not there it says 500, too
        raise


def _found(server: Server, kernel: Any, *, is_ours: bool) -> Found:
    return Found(server.kernel_id(kernel), str(kernel.get("name")), is_ours)


async def _no_kernelspec(server: Server, name: str) -> errors.SshpykError:
    names = ", ".join(sorted(await server.kernelspecs()))
    return trouble.NoServerKernelspec(
        name=name, host=server.host, names=names[:1000], url=server.address.url
    )
