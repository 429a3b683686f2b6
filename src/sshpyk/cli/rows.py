"""Rows of kernels that run on hosts: as JSON has them, and as tables show them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..wire.exits import size
from . import kernels
from .kernels import Kernel, Survey

HEADS: tuple[str, ...] = ("ID", "NAME", "HOST", "KERNEL", "STATE", "ACTIVITY", "PID", "STARTED")
HEADS += ("MEMORY", "CPU", "GPU", "LEASE", "SPOOLED")


def describe_all(surveys: Sequence[Survey], *, ended: bool) -> list[dict[str, Any]]:
    """All kernels as `--json` has them, and those that have `ended` where these are wanted."""
    rows = [describe(survey, kernel) for survey in surveys for kernel in survey.kernels]
    if ended:
        rows += [describe_ended(survey, one) for survey in surveys for one in survey.ended]
    return rows


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
        **{name: use.get(name) for name in USES},
        "machine": survey.machine or None,
        "gpus": survey.gpus,
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


#: What a kernel uses: `memory_limit` where its share of the machine's is limited; `cpu` is 1.0 for
#: one processor that it kept busy.
USES = ("memory", "memory_limit", "cpu", "cpu_seconds", "threads", "processes", "gpu_memory")

#: The keys of `describe`.
KEYS = (
    *("id", "name", "host", "node", "kernelspec", "state", "since", "pid", "started", "busy"),
    *("busy_since", *USES, "machine", "gpus", "persistent", "lease_left", "spooled"),
    *("paused", "ended"),
)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a kernel's row, below `HEADS`."""
    state = row["state"]
    if row["since"] is not None and state != "attached":
        state += f" since {moment(row['since'])}"
    left = row["lease_left"]
    return (
        row["id"][:8],
        row["name"] or "",
        row["host"],
        row["kernelspec"] or "",
        state,
        activity(row),
        str(row["pid"] or ""),
        moment(row["started"]) if row["started"] else "",
        *uses(row),
        "stays" if row["persistent"] else "" if left is None else span(left),
        amount(row["spooled"]),
    )


def activity(row: dict[str, Any]) -> str:
    """What a kernel does, and since when."""
    if row["ended"]:
        return ""
    if row["busy"] is None:
        return "?" + (" (paused)" if row["paused"] else "")
    said = f"{'busy' if row['busy'] else 'idle'} since {moment(row['busy_since'])}"
    return said + (" (paused)" if row["paused"] else "")


def uses(row: dict[str, Any]) -> tuple[str, str, str]:
    """What a kernel uses: memory, processors, and memory of GPUs."""
    memory = amount(row["memory"])
    if memory and row["memory_limit"] is not None:
        memory += f" of {amount(row['memory_limit'])}"
    cpu = "" if row["cpu"] is None else f"{row['cpu'] * 100:.0f}%"
    return memory, cpu, amount(row["gpu_memory"])


def amount(count: float | None) -> str:
    """A number of bytes; empty where it is not known."""
    return "" if count is None else size(count)


def machines(surveys: Sequence[Survey]) -> list[str]:
    """A line for each host that was asked, of what all there uses, and one for each of its GPUs."""
    lines = []
    for survey in surveys:
        machine = survey.machine
        parts = []
        if machine.get("memory_used") is not None and machine.get("memory_total") is not None:
            parts.append(f"{size(machine['memory_used'])} of {size(machine['memory_total'])}")
        if machine.get("cpu") is not None:
            parts.append(f"CPU {machine['cpu'] * 100:.0f}% of {machine.get('cpus') or '?'}")
        if machine.get("load") is not None:
            parts.append(f"load {machine['load']:.2f}")
        if parts:
            lines.append(f"{survey.place.host}: {', '.join(parts)}")
        for gpu in survey.gpus:
            said = f"{survey.place.host}: GPU {gpu['index']} {gpu['name']}"
            if gpu.get("memory_used") is not None:
                said += f", {size(gpu['memory_used'])} of {amount(gpu.get('memory_total')) or '?'}"
            if gpu.get("use") is not None:
                said += f", {gpu['use'] * 100:.0f}%"
            lines.append(said)
    return lines


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
