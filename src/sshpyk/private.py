"""Private directories on this machine: where control sockets and forwards are."""

from __future__ import annotations

import contextlib
import os
import stat

from . import errors

#: The longest directory that leaves room for the names of our sockets within the 104 bytes that
#: the shortest systems allow; ssh adds 17 to a control socket while it makes it.
LONGEST = 50


def runtime_directory() -> str:
    """A directory that only this user can enter, the same for all processes, with a short name.

    $XDG_RUNTIME_DIR is made for this; /tmp is shared, so what is found there is looked at before
    it is used: owner, mode, no link. Raises `SettingsError` where no place will do.
    """
    home = os.path.expanduser("~")
    candidates = [
        os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), "sshpyk"),
        f"/tmp/sshpyk-{os.getuid()}",
        os.path.join(home, ".ssh", "sshpyk"),
    ]
    for path in candidates:
        if os.path.isabs(path) and len(path) <= LONGEST and is_private(path):
            return path
    raise errors.SettingsError(
        text="There is no private directory for sockets: none of "
        f"{', '.join(candidates)} can be made or is yours alone. Set XDG_RUNTIME_DIR to one."
    )


def is_private(path: str) -> bool:
    """Make the directory if it is not there; whether it is ours alone."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        status = os.lstat(path)
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & 0o077
        and os.access(path, os.W_OK | os.X_OK)
    )
