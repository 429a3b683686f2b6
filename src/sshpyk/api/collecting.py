"""What a run has made, brought into a notebook of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..cli import kernels
from ..cli.onserver import OnServer
from ..cli.place import Place
from ..link.thread import wait_for
from ..notebook import files
from ..notebook.journal import Replay
from ..notebook.outputs import move
from . import runs
from .result import Result, result_of


@dataclass(frozen=True)
class Collected:
    """What `collect` has brought: the run's result so far, whether it `goes_on`, the copy of the
    notebook as it was, if there was one, and the code of cells that are not in it any more."""

    result: Result
    goes_on: bool
    copy: str | None
    homeless: list[str]


def collect(
    name: str,
    notebook: str,
    *,
    hosts: Sequence[str] = (),
    ssh_config: str | None = None,
) -> Collected:
    """Bring what a run has made by now into the file `notebook`, which is made if it is not there.

    `name` is the run's id or its beginning, or its kernel as for `attach`; of several runs of one
    kernel it is the one whose notebook has that name, else the last. Raises `SshpykError`; `NoRun`
    where there is none.
    """
    return wait_for(_collect(name, notebook, hosts, ssh_config))


async def _collect(
    name: str, notebook: str, hosts: Sequence[str], ssh_config: str | None
) -> Collected:
    place, found = await _find_run(name, os.path.basename(notebook), hosts, ssh_config)
    run = runs.Run(place.destination, place.python, id=found["run"])
    replay = Replay()

    def take(data: bytes) -> None:
        replay.feed(data)

    goes_on = await run.read(take, follow=False)
    if replay.notebook is None:
        raise errors.NoRun(host=place.host, id=name)
    copy, homeless = await asyncio.to_thread(_put_into, notebook, replay)
    result = result_of(replay, run.id, place.host, notebook, goes_on=goes_on)
    return Collected(result, goes_on, copy, homeless)


async def _find_run(
    name: str, notebook: str, hosts: Sequence[str], ssh_config: str | None
) -> tuple[Place, dict[str, Any]]:
    """Where the run is that a person means. Raises `SshpykError`."""
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        place, name = kernels.place_of_file(path)
        where = [place]
    else:
        where = kernels.places(hosts, ssh_config, left=True)
    troubles: list[BaseException] = []
    # Servers only where no host has it: asking one takes a helper kernel there.
    for some in (
        [place for place in where if not isinstance(place, OnServer)],
        [place for place in where if isinstance(place, OnServer)],
    ):
        answers = await asyncio.gather(
            *(runs.ask(place.destination, place.python, {"do": "runs"}) for place in some),
            return_exceptions=True,
        )
        troubles += [answer for answer in answers if isinstance(answer, BaseException)]
        found = [
            (place, one)
            for place, answer in zip(some, answers, strict=True)
            if not isinstance(answer, BaseException)
            for one in answer["runs"]
            if kernels.is_id(one["run"], name)
            or kernels.is_id(one["kernel"], name)
            or one.get("session") == name
        ]
        if found:
            return max(found, key=lambda one: (one[1]["name"] == notebook, one[1]["at"]))
    if troubles:
        raise troubles[0]
    raise errors.NoRun(host=", ".join(place.host for place in where), id=repr(name))


def _put_into(path: str, replay: Replay) -> tuple[str | None, list[str]]:
    """Write what a run has made: the copy of what was there, and the codes without a cell."""
    assert replay.notebook is not None
    executed = [replay.notebook["cells"][cell] for cell in replay.cells]
    copy, homeless, whole = None, [], replay.notebook
    if os.path.exists(path):
        there = files.read(path)
        cells = [cell for cell in there["cells"] if cell["cell_type"] == "code"]
        homeless = move(executed, cells)
        if there == files.read(path):
            return None, homeless
        copy, whole = files.copy_name(path), there
        shutil.copy2(path, copy)
    try:
        files.write(path, whole)
    except OSError as error:
        raise errors.Unwritable(path=path, reason=error.strerror or str(error)) from None
    return copy, homeless
