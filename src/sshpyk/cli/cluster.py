"""`sshpyk add --slurm`: what a cluster offers, and what it makes of the options."""

from __future__ import annotations

from typing import Any

from ..schedulers.base import Allocation
from ..transport.scheduled import Scheduled
from .edit import check
from .look import destination_of, patience_of
from .remote import transport_to
from .terminal import Terminal, clean


def try_options(terminal: Terminal, config: dict[str, Any]) -> None:
    """Have the scheduler say what it makes of the options; where there are none, let a person see
    what there is and choose. Raises `HostError` where it would refuse them."""
    from . import wait_for

    def allocation() -> Allocation:
        found = destination_of(config)
        assert isinstance(found, Allocation)
        found.check()
        return found

    async def ask(what: str) -> str:
        place = transport_to(allocation())
        assert isinstance(place, Scheduled)
        await place.ensure(timeout=patience_of(config))
        queue = place.queue
        return await (queue.offers() if what == "offers" else queue.test(place.allocation))

    host = allocation().host
    if not config["slurm"] and terminal.is_interactive:
        with terminal.busy(f"Asking for {host} …"):
            offers = wait_for(ask("offers"))
        heads = ("partition", "state", "time limit", "machines", "cpus", "memory (MB)", "gpus")
        rows = [tuple(map(clean, line.split("|"))) for line in offers.splitlines()]
        terminal.table(heads, [row for row in rows if len(row) == len(heads)])
        config["slurm"] = terminal.ask(
            "Options (partition=NAME gres=gpu:1 time=4:00:00; Enter for the cluster's defaults):"
        )
        check(config)
    with terminal.busy(f"Asking for {host} …"):
        told = wait_for(ask("test"))
    if told:
        terminal.note(f"The cluster would take it: {clean(told)}")
