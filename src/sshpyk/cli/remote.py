"""Looking at hosts: one ssh connection each, and what to say where that fails."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .. import errors
from ..ssh.command import Destination, run
from ..transport import jobs
from ..transport.openssh import Host, host

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


def host_of(destination: Destination) -> Host:
    """The process's `Host` for it; call it on the I/O thread. Raises `SettingsError`."""
    destination.check()
    return host(destination)


#: What the answer to "inspect" must look like: hosts may be stranger than we know, or hostile.
_WORDS = "a list of words, not empty"
_SPEC: dict[str, Any] = {
    "name": str,
    "directory": str,
    "display_name": str,
    "language": str,
    "interrupt_mode": str,
    "argv": _WORDS,
    "program": (str, type(None)),
    "metadata": dict,
    "logos": dict,
}
_ENVIRONMENT: dict[str, Any] = {
    **dict.fromkeys(("python", "kind", "name", "version", "prefix", "ipykernel", "trouble"), str),
    "kernelspecs": [_SPEC],
}
_PLACE: dict[str, Any] = {"path": str, "there": str, "free": int, "writable": bool}
_INSPECTION: dict[str, Any] = {
    **dict.fromkeys(("python", "version", "prefix", "system", "home", "shell"), str),
    "time": (int, float),
    "state": _PLACE,
    "tmp": _PLACE,
    "kills_processes": bool,
    "found": dict,
    "logos": dict,
}
_EVERYTHING: dict[str, Any] = {
    **_INSPECTION,
    "kernelspecs": [{**_SPEC, "by_name": bool}],
    "environments": [_ENVIRONMENT],
    "setup_trouble": str,
}


def fits(value: object, shape: Any) -> bool:
    """Whether `value` has the types that `shape` shows; keys beyond it don't matter."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            key in value and fits(value[key], part) for key, part in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if shape is _WORDS:
        return fits(value, [str]) and bool(value)
    return isinstance(value, shape)


async def inspect(
    host: Host,
    python: str,
    request: dict[str, Any],
    *,
    connect: float,
    timeout: float,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """`ask` for the job "inspect", and make sure of its answer's shape."""
    answer = await ask(
        host, python, request, connect=connect, timeout=timeout, pythonhome=pythonhome
    )
    whole = _EVERYTHING if request["environments"] else _INSPECTION
    if not fits(answer, whole) or not all(
        fits(answer["found"].get(name), {"error": str}) or fits(answer["found"].get(name), _SPEC)
        for name in request["names"]
    ):
        raise errors.StrangeAnswer(
            host=host.destination.host,
            python=python,
            command=host.destination.for_people(),
            details="its answer is not what sshpyk's agent says",
        )
    return answer


async def ask(
    host: Host,
    python: str,
    request: dict[str, Any],
    *,
    connect: float,
    timeout: float,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """Connect and run a job that answers once; `connect` and `timeout` in seconds.

    Raises `SshpykError`.
    """
    try:
        await asyncio.wait_for(host.master.ensure(timeout=connect), connect + 1.0)
        async with host.sessions:
            return await jobs.ask(
                host.master, python, request, timeout=timeout, pythonhome=pythonhome
            )
    except (TimeoutError, asyncio.TimeoutError):
        destination = host.destination
        raise errors.Unreachable(
            host=destination.host,
            command=destination.for_people(),
            details=f"it has not answered within {timeout:g} s",
        ) from None


def inspection(
    names: list[str],
    *,
    setup: list[str] | None = None,
    login_shell: bool = False,
    environments: bool = False,
) -> dict[str, Any]:
    """The request for the job "inspect", see `sshpyk.agent.inspect`."""
    return {
        "do": "inspect",
        "names": names,
        "setup": setup or [],
        "login_shell": login_shell,
        "environments": environments,
    }


async def find_python(host: Host, trouble: errors.SshpykError) -> str:
    """Another Python on the host, one that runs our agent. Raises `trouble` where none does."""
    found = await run(host.master.session_argv(SEARCH), timeout=SEARCH_TIMEOUT)
    paths = [line.strip() for line in found.stdout.splitlines() if line.startswith("/")]
    for path in list(dict.fromkeys(paths))[:MOST_TRIES]:
        with contextlib.suppress(errors.RemoteError):
            await jobs.ask(host.master, path, inspection([]), timeout=SEARCH_TIMEOUT)
            return path
    raise trouble
