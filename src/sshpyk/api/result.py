"""What became of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..notebook.journal import Replay


@dataclass(frozen=True)
class Result:
    """What became of a run: "ok"; "error", a cell raised; "died", the kernel ended; "stopped" or
    "failed", what ran it on the host was ended, or has a defect; "detached", it goes on."""

    status: str
    run: str  # its id, for `collect`
    kernel: str  # the kernel's id
    host: str
    cells: int  # how many are to run
    ran: int  # how many have
    cell: int | None = None  # which of them raised, from 1
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    text: str = ""  # why it failed
    output: str | None = None  # the notebook's path

    def to_json(self) -> dict[str, Any]:
        """The result for other programs."""
        return dict(vars(self))


def result_of(
    replay: Replay, run: str, host: str, output: str | None, *, goes_on: bool = False
) -> Result:
    """What a journal says of its run, of which there will be more where it `goes_on`."""
    number = None if replay.failed_at is None else replay.number_of(replay.failed_at)
    text = "" if replay.status or goes_on else "what ran it on the host has ended"
    return Result(
        status=replay.status or ("detached" if goes_on else "failed"),
        run=run,
        kernel=replay.kernel,
        host=host,
        cells=len(replay.cells),
        ran=replay.ran,
        cell=number,
        ename=str(replay.error.get("ename") or ""),
        evalue=str(replay.error.get("evalue") or ""),
        traceback=list(map(str, replay.error.get("traceback", []))),
        text=text or replay.text,
        output=output,
    )
