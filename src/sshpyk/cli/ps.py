"""`sshpyk ps`: the kernels that run on hosts."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from . import kernels
from .kernels import Kernel, Survey
from .terminal import Terminal

HEADS: tuple[str, ...] = ("ID", "NAME", "HOST", "KERNEL", "STATE", "ACTIVITY", "PID", "STARTED")
HEADS += ("MEMORY", "CPU", "LEASE", "SPOOLED")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "hosts", nargs="*", metavar="HOST", help="where to look (default: all of the kernelspecs)"
    )
    kernels.add_place_options(parser, host_option=False)
    parser.add_argument("-a", "--all", action="store_true", help="show those that have ended, too")
    parser.add_argument("--json", action="store_true", help="write JSON")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    from . import wait_for

    where = kernels.places(arguments.hosts, arguments.ssh_config)
    with terminal.busy("Looking …"):
        surveys: list[Survey] = wait_for(kernels.survey_all(where))
    rows = [describe(survey, kernel) for survey in surveys for kernel in survey.kernels]
    if arguments.all:
        rows += [describe_ended(survey, ended) for survey in surveys for ended in survey.ended]
    if arguments.json:
        terminal.raw(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    elif rows:
        _show(terminal, rows)
    elif not any(survey.trouble for survey in surveys):
        terminal.note("No kernels of yours run there.", "dim")
    for survey in surveys:
        if survey.trouble is not None:
            terminal.failure(survey.trouble)
    return int(any(survey.trouble for survey in surveys))


def describe(survey: Survey, kernel: Kernel) -> dict[str, Any]:
    """A kernel as `--json` has it; sizes in bytes, times in seconds since 1970, null if unknown."""
    status = kernel.get("status") or {}
    use = kernel.get("use") or {}
    parted = status.get("parted") or {}
    return {
        "id": kernel["id"],
        "name": kernel.get("session") or None,
        "host": survey.place.host,
        "node": kernel["host"],
        "kernelspec": kernel["kernel"]["name"],
        "state": kernels.state_of(kernel),
        "since": parted.get("since"),
        "pid": kernel["kernel"]["pid"],
        "started": kernel["started_at"],
        "busy": status.get("busy"),
        "busy_since": status.get("busy_since") if status.get("busy") is not None else None,
        "memory": use.get("memory"),
        "cpu": use.get("cpu"),
        "cpu_seconds": use.get("cpu_seconds"),
        "persistent": kernel["persistent"],
        "lease_left": status.get("lease_left"),
        "spooled": status.get("spooled"),
        "paused": status.get("paused"),
        "ended": None,
    }


def describe_ended(survey: Survey, ended: Kernel) -> dict[str, Any]:
    """A kernel that has ended, with the keys of `describe`."""
    known = {"id": ended["id"], "host": survey.place.host, "node": ended.get("host")}
    row = dict.fromkeys(KEYS)
    return {
        **row,
        **known,
        "state": "exited",
        "since": ended["at"],
        "ended": kernels.why_ended(ended),
    }


#: The keys of `describe`.
KEYS = (
    *("id", "name", "host", "node", "kernelspec", "state", "since", "pid", "started", "busy"),
    *("busy_since", "memory", "cpu", "cpu_seconds", "persistent", "lease_left", "spooled"),
    *("paused", "ended"),
)


def _show(terminal: Terminal, rows: list[dict[str, Any]]) -> None:
    terminal.table(HEADS, map(_cells, rows))
    for row in rows:
        if row["ended"]:
            terminal.note(f"{row['id'][:8]}: {row['ended']}", "dim")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"]
    if row["since"] is not None and state != "attached":
        state += f" since {moment(row['since'])}"
    activity = "?"
    if row["busy"] is not None:
        activity = f"{'busy' if row['busy'] else 'idle'} since {moment(row['busy_since'])}"
    if row["ended"]:
        activity = ""
    left = row["lease_left"]
    return (
        row["id"][:8],
        row["name"] or "",
        row["host"],
        row["kernelspec"] or "",
        state,
        activity + (" (paused)" if row["paused"] else ""),
        str(row["pid"] or ""),
        moment(row["started"]) if row["started"] else "",
        size(row["memory"]),
        "" if row["cpu"] is None else f"{row['cpu'] * 100:.0f}%",
        "stays" if row["persistent"] else "" if left is None else span(left),
        size(row["spooled"]),
    )


def moment(seconds: float) -> str:
    """A time: today's clock, or the day with it."""
    local = time.localtime(seconds)
    is_today = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M", local)


def span(seconds: float) -> str:
    """A length of time, in the unit that suits it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def size(count: float | None) -> str:
    """A number of bytes, in the unit that suits it."""
    if count is None:
        return ""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"
