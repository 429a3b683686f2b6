"""The kernels that run on hosts, for JupyterLab's list of what runs: as `sshpyk ps` has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import errors
from ..cli import kernels, logs, rows, stop
from ..jupyter import kernelspec, persistence
from ..jupyter.places import destination_of
from ..layout import printable
from .states import printable_all

if TYPE_CHECKING:
    from ..cli.place import Place

#: Bytes of each log that a page is shown: the last of them.
MOST_LOG = 200_000


async def survey() -> list[dict[str, Any]]:
    """What runs on the hosts of all cards; on the I/O thread."""
    try:
        places = kernels.places([])
    except errors.SettingsError:
        return []  # there are no cards
    told = []
    for one in await kernels.survey_all(places, use=True):
        trouble = one.trouble
        found = [_row(rows.describe(one, kernel)) for kernel in one.kernels]
        told.append(
            {
                "host": printable(one.place.host),
                "trouble": None if trouble is None else trouble.to_json(),
                "needs_person": isinstance(trouble, errors.NeedsPerson),
                "kernels": found,
            }
        )
    return told


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = printable_all(dict(row))
    return told


async def find(host: str, id: str) -> Place:
    """Where the kernel is; on the I/O thread. Raises `SshpykError`."""
    survey, _ = await kernels.locate(id, [host], None)
    return survey.place


async def end(host: str, id: str) -> None:
    """End a kernel; on the I/O thread. Raises `SshpykError`."""
    await stop.stop(await find(host, id), id)


async def read_logs(host: str, id: str) -> dict[str, str]:
    """The ends of what a kernel and its agent have written; on the I/O thread.

    Raises `SshpykError`.
    """
    place = await find(host, id)
    found = {logs.KERNEL: b"", logs.AGENT: b""}
    async for file, data in logs.read(place, id, list(found), follow=False):
        found[file] = (found[file] + data)[-MOST_LOG:]
    texts = {name: printable(data.decode("utf-8", "replace")) for name, data in found.items()}
    return {"kernel": texts[logs.KERNEL], "agent": texts[logs.AGENT]}


async def attachable(host: str, id: str) -> tuple[str, str]:
    """What attaching takes: the name of a card, and the path of a persistence file; on the I/O
    thread. Raises `SshpykError`."""
    survey, kernel = await kernels.locate(id, [host], None)
    cards = [
        spec
        for spec in kernelspec.all_specs().values()
        if spec.is_ours and destination_of(spec.config) == survey.place.destination
    ]
    if not cards:
        raise errors.NoSuchKernel(name=repr(host), names="none on this host")
    name = kernel["kernel"]["name"]
    same = [spec for spec in cards if spec.config.get("remote_kernel_name") == name]
    path = persistence.default_path(id)
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        await kernels.save(survey.place, id, path)
    return (same or cards)[0].name, path
