"""Files of this machine, brought to a host before a run: those that it does not have as they are.

By a job of ours, through whatever leads there, so it needs no rsync on either side. What the host
has more than we do is left alone.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import errors
from ..aio import within
from ..jupyter.places import destination_of
from ..link.thread import wait_for
from ..wire.exits import size

if TYPE_CHECKING:
    from ..transport.base import Program
    from ..wire.requests import PutRequest

#: Directories that are not brought: they are of use only where they are, or to nobody's code.
LEFT_OUT: tuple[str, ...] = (".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints")
LEFT_OUT += ("node_modules", ".venv", ".tox", ".mypy_cache", ".ruff_cache", ".pytest_cache")

#: Files that are looked at; more are hardly the modules beside a notebook.
MOST_FILES = 100_000

#: Seconds for a login, and for the host to look, and to take the next piece.
CONNECT = 15.0
ANSWER = 60.0

#: Bytes that are sent at once.
CHUNK = 256 * 1024


def push(config: Mapping[str, Any], path: str, note: Callable[[str], None]) -> None:
    """Bring the files below the directory `path` to where a kernel with the settings `config`
    starts when it is started in `path` here.

    Raises `SshpykError`.
    """
    from ..jupyter.provisioner import places_of

    if not os.path.isdir(path):
        raise errors.Unreadable(path=path, reason="it is no directory")
    if config.get("server_url"):
        raise errors.NoAgent(host=str(config["server_url"]))
    found = list(files_below(path))
    if len(found) > MOST_FILES:
        raise errors.SettingsError(text=f"{path} has more than {MOST_FILES} files.")
    there = str(config.get("remote_cwd") or places_of(path)[0])
    count, sent = wait_for(_push(config, path, there, found))
    if count:
        note(f"{count} files ({size(sent)}) were brought from {path}.")


def files_below(path: str) -> Iterator[str]:
    """The regular files below a directory and its links, by their path in it."""
    for directory, names, files in os.walk(path):
        names[:] = sorted(
            name
            for name in names
            if name not in LEFT_OUT
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        )
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in sorted([*files, *links]):
            whole = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(whole).st_mode) or os.path.islink(whole):
                yield os.path.relpath(whole, path)


async def _push(
    config: Mapping[str, Any], path: str, there: str, names: list[str]
) -> tuple[int, int]:
    """How many files were sent, and their bytes."""
    from ..cli import remote
    from ..transport import jobs

    transport = remote.transport_to(destination_of(config))
    python = str(config.get("remote_python") or "python3")
    described = [_describe(path, name) for name in names]
    request: PutRequest = {"do": "put", "path": there, "files": described}
    await transport.ensure(timeout=CONNECT)
    try:
        async with jobs.Job(
            transport, python, request, config.get("remote_pythonhome") or None
        ) as job:
            wanted = (await within(ANSWER, job.answer()))["wanted"]
            wanted = [number for number in wanted if 0 <= number < len(names)]
            total = sum(described[n][1] for n in wanted)
            await _send(job.program, path, [names[n] for n in wanted])
            await within(ANSWER, job.answer())
    except (TimeoutError, OSError) as error:
        raise errors.Unreachable(
            host=transport.host,
            command=transport.login.command,
            details=f"it has not taken the files: {error}",
        ) from None
    return len(wanted), total


def _describe(path: str, name: str) -> list[Any]:
    """A file's name, size, and time of change in whole seconds; a link has -1 and its target."""
    whole = os.path.join(path, name)
    status = os.lstat(whole)
    if stat.S_ISLNK(status.st_mode):
        return [name, 0, os.readlink(whole)]
    return [name, status.st_size, int(status.st_mtime)]


async def _send(program: Program, path: str, names: list[str]) -> None:
    """Send files as a tar archive in pieces, read in a thread, no faster than they are taken."""
    reading, writing = os.pipe()

    def pack() -> None:
        with os.fdopen(writing, "wb") as pipe:
            packed = gzip.GzipFile(fileobj=pipe, mode="wb", compresslevel=1)
            with packed, tarfile.open(fileobj=packed, mode="w|") as archive:
                for name in names:
                    archive.add(os.path.join(path, name), name, recursive=False)

    packing = asyncio.ensure_future(asyncio.to_thread(pack))
    try:
        while data := await asyncio.to_thread(os.read, reading, CHUNK):
            program.write(b"%d\n%b" % (len(data), data))
            await within(ANSWER, program.drain())
        program.write(b"0\n")
    finally:
        os.close(reading)  # who packs for nobody gets a BrokenPipeError
        await asyncio.wait([packing])
    packing.result()
