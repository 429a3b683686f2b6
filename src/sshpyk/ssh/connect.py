"""Making a master with a person at the terminal: passwords, codes, passphrases, host keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile

from .. import errors
from ..aio import within
from . import askpass, complaints
from .master import Master

#: How long a master stays idle that a person has made: typing a code twice a day is enough.
PERSIST = "12h"

#: Seconds that a master has to answer before it counts as dead.
ANSWER_WITHIN = 5.0

#: Seconds between looks whether somebody else has made the master meanwhile.
LOOK_EVERY = 0.5

#: A configuration may say yes, for programs such as ours.
ASK = ("-o", "BatchMode=no")


async def is_connected(master: Master) -> bool:
    """Whether there is a master and the host answers through it. A dead one is removed."""
    await master.prepare()
    if master.identity() is None:
        return False
    if await master.answers(timeout=ANSWER_WITHIN):
        return True
    await master.retire()
    return False


async def connect(master: Master, *, keep: bool = False) -> list[str]:
    """Make the master; ssh asks on the terminal what it needs to know.

    With `keep`, secrets come from the keyring, and what a person types gets there; returns whose.
    Raises `HostError`, or `SettingsError`.
    """
    await master.prepare()
    if not keep:
        await _run(master, {}, ASK)
        return []
    if not askpass.has_keyring():
        raise errors.SettingsError(
            text="The Python package keyring is missing.",
            advice="Install it:",
            command="pip install 'sshpyk[keyring]'",
        )
    with askpass.environment(master.destination.host, askpass.PERSON) as environment:
        try:
            await _run(master, environment, ASK)
        except BaseException:
            askpass.forget(environment)
            raise
        return askpass.kept(environment)


async def connect_by(master: Master, environment: dict[str, str]) -> None:
    """Make the master, without a terminal; ssh asks the program that `environment` names.

    Raises `HostError`, or `SettingsError`.
    """
    await master.prepare()
    try:
        await _run(master, environment, ASK, on_terminal=False)
    except BaseException:
        askpass.forget(environment)
        raise


async def _run(
    master: Master,
    environment: dict[str, str],
    options: tuple[str, ...],
    *,
    on_terminal: bool = True,
) -> None:
    """Run ssh, on this terminal if so, until it has gone into the background."""
    # It goes there by itself, as ControlPersist says. Not with -f: then it would do so even where
    # another process has made the master meanwhile, and stay for good with nothing to do.
    argv = master.start_argv(*options, persist=PERSIST)
    with tempfile.TemporaryFile() as file:
        stderr = None if on_terminal and sys.stderr.isatty() else file
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,  # ssh asks on /dev/tty
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=not on_terminal,
            env={**os.environ, **environment},
        )
        try:
            status = await _ended(process, master)
        finally:
            await asyncio.shield(_end(process))
        file.seek(0)
        said = file.read().decode("utf-8", "replace")
    if master.identity() is None:
        if stderr is None:
            destination = master.destination
            raise errors.NotLetIn(host=destination.host, connect=destination.for_connect())
        if status == 0:
            said += "ssh ended without leaving a master"
        raise complaints.host_error(master.destination, said)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End an ssh that still runs."""
    if process.returncode is None:
        # Killed, it would leave the terminal without an echo, as it is for a password.
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await within(LOOK_EVERY, process.wait())
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _ended(process: asyncio.subprocess.Process, master: Master) -> int:
    while True:
        try:
            return await within(LOOK_EVERY, process.wait())
        except TimeoutError:
            if master.identity() is not None:
                # It may be this very ssh, which needs a moment to go into the background.
                with contextlib.suppress(TimeoutError):
                    return await within(LOOK_EVERY, process.wait())
                return 0
