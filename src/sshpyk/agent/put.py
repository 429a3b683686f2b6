"""The job "put": files of the client's for a directory of this host.

The request has "path", the directory, relative to home, and "files": of each its name in it, its
size and its time of change in seconds, or for a link 0 and its target. It answers {"wanted"}, the
numbers of those that are not here as they are there. Then a tar archive of these comes on stdin,
compressed and in pieces, each behind a line with its size, the last of size 0; it answers {"put":
their number}.

A file is replaced as a whole, and nothing is removed.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile

from .boot import Failed, answer
from .records import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List


def run(request: Dict[str, Any]) -> None:
    """Do the job. Raises `Failed`."""
    path = os.path.join(home(), os.path.expanduser(os.path.expandvars(request["path"])))
    try:
        os.makedirs(path, exist_ok=True)
        files: List[List[Any]] = request["files"]
        answer(wanted=[number for number, file in enumerate(files) if not is_here(path, *file)])
        count = 0
        pieces: Any = Pieces()
        with tarfile.open(fileobj=pieces, mode="r|gz") as archive:
            for member in archive:
                put(path, archive, member)
                count += 1
        while pieces.read(65536):
            pass  # what stands behind the archive's end, so that the client can send it
    except (OSError, tarfile.TarError, EOFError) as error:
        where = getattr(error, "filename", None) or path
        reason = getattr(error, "strerror", None) or str(error)
        raise Failed("not-writable", path=str(where), reason=reason) from None
    answer(put=count)


class Pieces:
    """The archive that comes in pieces, as a file."""

    def __init__(self) -> None:
        self._left = -1  # bytes of the piece that is being read; 0 after the last one

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; nothing at the end."""
        stdin = sys.stdin.buffer
        if self._left < 0:
            self._left = int(stdin.readline() or b"0")
        data = stdin.read(min(size, self._left))
        self._left -= len(data)
        if not self._left and data:
            self._left = -1
        return data


def is_here(path: str, name: str, size: int, changed: Any) -> bool:
    """Whether a file or a link is here as it is there."""
    whole = os.path.join(path, name)
    try:
        status = os.lstat(whole)
        if isinstance(changed, str):
            return stat.S_ISLNK(status.st_mode) and os.readlink(whole) == changed
    except OSError:
        return False
    is_same = status.st_size == size and int(status.st_mtime) == changed
    return stat.S_ISREG(status.st_mode) and is_same


def put(path: str, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Put one file or link in its place: readers see the old one or the new one."""
    whole = os.path.join(path, member.name)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    temporary = f"{whole}.sshpyk-{os.getpid()}"
    try:
        if member.issym():
            os.symlink(member.linkname, temporary)
        else:
            content = archive.extractfile(member)
            assert content is not None
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with open(os.open(temporary, flags, member.mode & 0o777), "wb") as file:
                while True:
                    data = content.read(256 * 1024)
                    if not data:
                        break
                    file.write(data)
            os.utime(temporary, (member.mtime, member.mtime))
        os.replace(temporary, whole)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
