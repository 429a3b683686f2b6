"""What ssh says on stderr when it fails, and which error that is.

The texts are OpenSSH's own (ssh.c, sshconnect.c, sshconnect2.c, readconf.c); they have been stable
for twenty years, and are not translated.
"""

from __future__ import annotations

import re

from .. import errors
from .command import Destination

_TABLE: tuple[tuple[str, type[errors.HostError]], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", errors.HostKeyChanged),
    (r"Host key verification failed", errors.HostKeyUnknown),
    (r"No \S+ host key is known for", errors.HostKeyUnknown),
    (r"Could not resolve hostname", errors.UnknownHost),
    (r"Connection refused", errors.ConnectionRefused),
    (r"Permission denied \(", errors.AuthenticationFailed),
    (r"Too many authentication failures", errors.AuthenticationFailed),
    (r"Operation timed out|Connection timed out|timed out", errors.Unreachable),
    (r"No route to host|Network is unreachable|Host is down", errors.Unreachable),
)


def is_session_refused(stderr: str) -> bool:
    """Whether the host was reached and has as many sessions on the master as it allows.

    sshd's MaxSessions counts all of them, other processes' and the user's own too (mux.c).
    """
    return "session request failed" in stderr


def host_error(destination: Destination, stderr: str) -> errors.HostError:
    """The error that ssh's `stderr` tells of, with that text as its details."""
    kind = next((kind for text, kind in _TABLE if re.search(text, stderr)), errors.HostError)
    return kind(
        host=destination.host,
        command=destination.for_people(),
        connect=destination.for_connect(),
        copy=destination.for_people(program=None),
        ask=destination.for_people("-o", "StrictHostKeyChecking=ask"),
        details=stderr.strip()[-2000:],
    )
