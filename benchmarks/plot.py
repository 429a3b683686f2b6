"""Start time and throughput against latency: local, bare ssh, ours."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

from tests.lab.sshd import Sshd

from . import measures
from .links import through_link
from .places import bare, local, ours

ROUND_TRIPS = (0, 10, 25, 50, 100)  # milliseconds
MEGABYTES = 100


def draw(path: Path, home: Path) -> None:
    """Measure once at each latency, and draw both figures into `path` (PNG or SVG)."""
    starts, throughputs, floors = [], [], []
    for milliseconds in ROUND_TRIPS:
        with Sshd(home=home) as server, through_link(server) as link:
            with ours(server):
                pass  # warm
            link.set_delay(milliseconds / 2e3)
            with ours(server) as kernel:
                starts.append(kernel.seconds)
                throughputs.append(measures.throughput(kernel.client, MEGABYTES) / 1e6)
            with bare(server) as client:
                floors.append(measures.throughput(client, MEGABYTES) / 1e6)
    with local() as kernel:
        local_start = kernel.seconds
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.plot(ROUND_TRIPS, starts, "o-", label="sshpyk, warm")
    left.axhline(local_start, color="gray", linestyle="--", label="local kernel")
    left.set(title="First reply after start", ylabel="seconds", ylim=0)
    right.plot(ROUND_TRIPS, throughputs, "o-", label="sshpyk")
    right.plot(ROUND_TRIPS, floors, "s--", color="gray", label="bare ssh -L")
    right.set(title=f"{MEGABYTES} MB of iopub", ylabel="MB/s", ylim=0)
    for axes in (left, right):
        axes.set_xlabel("round trip, ms")
        axes.legend()
    figure.savefig(path)
