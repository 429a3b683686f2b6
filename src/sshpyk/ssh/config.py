"""What ssh would do for a host, as `ssh -G` tells it."""

from __future__ import annotations

from .. import errors
from .command import Destination, run

#: Seconds for `ssh -G`, which contacts nobody, but may run a `Match exec` of the user's.
TIMEOUT = 20.0


async def settings(destination: Destination) -> dict[str, list[str]]:
    """Every option and its values, names in lower case, tokens such as %h expanded by ssh.

    Raises `SettingsError` where ssh refuses the host or its configuration, or does not say.
    """
    # With a command, because a configuration may be one that makes no sense without.
    argv = destination.argv("-G", "-o", "RemoteCommand=none", command="true")
    try:
        result = await run(argv, timeout=TIMEOUT)
    except TimeoutError:
        raise errors.SlowSshConfig(
            host=destination.host, seconds=TIMEOUT, command=destination.for_people("-G")
        ) from None
    if result.status != 0:
        raise errors.SettingsError(
            text=f"ssh refuses {destination.host}, or its configuration for it.",
            advice="Correct what it names:",
            details=result.stderr,
        )
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found
