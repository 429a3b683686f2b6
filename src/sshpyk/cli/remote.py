"""Looking at hosts: one ssh connection each, and what to say where that fails."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..server.address import ServerAddress
from ..transport import jobs
from ..transport.ways import transport

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..ssh.command import Destination
    from ..transport.base import Transport
    from ..transport.entrance import Entrance
    from ..wire.requests import InspectRequest, Request

#: A command that names Pythons on hosts whose `python3` is missing or too old. It means the same to
#: every shell.
SEARCH = (
    "sh -lc 'command -v python3; ls -d /usr/bin/python3.?? /usr/local/bin/python3 "
    "/opt/*/bin/python3 ~/*conda*/bin/python3 ~/*forge*/bin/python3 "
    "~/.pyenv/versions/*/bin/python3 ~/.local/bin/python3 2>/dev/null'"
)

#: Seconds for that, and how many of them are tried.
SEARCH_TIMEOUT = 20.0
MOST_TRIES = 6

#: Bytes of its output that are read.
MOST_OUTPUT = 256 * 1024


def transport_to(destination: Destination | Entrance | Allocation | ServerAddress) -> Transport:
    """The process's transport to it; call it on the I/O thread. Raises `SettingsError`."""
    destination.check()
    if isinstance(destination, ServerAddress):
        from ..server import transport as of_servers  # with tornado's clients, as seldom

        return of_servers.transport(destination)
    return transport(destination)


async def inspect(
    transport: Transport,
    python: str,
    request: InspectRequest,
    *,
    connect: float,
    timeout: float,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """`ask` for the job "inspect": all that was asked for is in the answer."""
    answer = await ask(
        transport, python, request, connect=connect, timeout=timeout, pythonhome=pythonhome
    )
    missing = set(request["names"]) - set(answer["found"])
    if request["environments"]:
        missing |= {"kernelspecs", "environments", "setup_trouble"} - set(answer)
    if missing:
        what = f"its answer says nothing of {sorted(missing)[0]}"
        raise errors.StrangeAgent(host=transport.host, what=what)
    return answer


async def ask(
    transport: Transport,
    python: str,
    request: Request,
    *,
    connect: float,
    timeout: float,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """Connect and run a job that answers once; `connect` and `timeout` in seconds.

    Raises `SshpykError`.
    """
    try:
        await within(connect + 1.0, transport.ensure(timeout=connect))
        return await jobs.ask(transport, python, request, timeout=timeout, pythonhome=pythonhome)
    except TimeoutError:
        raise errors.Unreachable(
            host=transport.host,
            command=transport.login.command,
            details=f"it has not answered within {timeout:g} s",
        ) from None


def inspect_request(
    names: list[str],
    *,
    setup: list[str] | None = None,
    login_shell: bool = False,
    environments: bool = False,
    pythons: list[str] | None = None,
) -> InspectRequest:
    """The request for the job "inspect", see `sshpyk.agent.inspect`."""
    return {
        "do": "inspect",
        "names": names,
        "setup": setup or [],
        "login_shell": login_shell,
        "environments": environments,
        "pythons": pythons or [],
    }


async def find_python(transport: Transport, trouble: errors.SshpykError) -> str:
    """Another Python on the host, one that runs our agent. Raises `trouble` where none does."""
    found = await within(SEARCH_TIMEOUT, output_of(transport, SEARCH))
    paths = [line.strip() for line in found.splitlines() if line.startswith("/")]
    for path in list(dict.fromkeys(paths))[:MOST_TRIES]:
        with contextlib.suppress(errors.RemoteError):
            await jobs.ask(transport, path, inspect_request([]), timeout=SEARCH_TIMEOUT)
            return path
    raise trouble


async def output_of(transport: Transport, command: str) -> str:
    """What `command` writes to its stdout there, up to `MOST_OUTPUT` bytes."""
    output = b""
    async with transport.run(command) as program:
        while len(output) < MOST_OUTPUT and (data := await program.read()):
            output += data
    return output.decode("utf-8", "replace")
