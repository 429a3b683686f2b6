"""Rows about hosts that forward nothing: kernels over the relay, beside those over forwards."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator

from tests.lab.sshd import Sshd

from . import measures, processes
from .links import through_link
from .places import ours
from .rows import FAR, ROUND_TRIP, Row


@contextlib.contextmanager
def no_forwards() -> Iterator[Sshd]:
    """A server that forwards nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="h-", dir="/tmp") as home,
        Sshd(home=home, options=["DisableForwarding yes"], host="relayed") as server,
    ):
        yield server


def _started(server: Sshd) -> float:
    """Seconds to the first reply of a kernel, the second of a process."""
    with ours(server):
        pass
    with ours(server) as kernel:
        return kernel.seconds


def start(server: Sshd) -> Row:
    with no_forwards() as other:
        forwards, relay = _started(server), _started(other)
    ratio = relay / forwards
    return Row(
        "relay: first reply, warm",
        "≤ 1.1 × forwards",
        ratio,
        ratio <= 1.1,
        f"{ratio:.2f} × ({relay:.2f} s, forwards {forwards:.2f} s)",
        {"relay": relay, "forwards": forwards},
    )


def _started_far(server: Sshd) -> tuple[float, float]:
    """The same of the first and the second of a process, at 50 ms; logged in before."""
    with through_link(server) as link:
        words = ["ssh", "-F", str(server.ssh_config), server.host, "true"]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        link.set_delay(FAR)
        with ours(server) as kernel:
            first = kernel.seconds
        with ours(server) as kernel:
            return first, kernel.seconds


def start_far(server: Sshd) -> Row:
    with no_forwards() as other:
        there, forwards = _started_far(server)
        first, relay = _started_far(other)
    trips = (relay - forwards) / ROUND_TRIP
    lost = (first - there) / ROUND_TRIP
    return Row(
        "the same at 50 ms",
        "≤ 1 round trip more than forwards",
        trips,
        trips <= 1,
        f"{trips:.1f} more ({relay:.2f} s, forwards {forwards:.2f} s); {lost:.1f} the first time",
        {"relay": relay, "forwards": forwards, "first": first, "first-forwards": there},
    )


def round_trip(server: Sshd) -> Row:
    with no_forwards() as other, ours(server) as one, ours(other) as two:
        forwards, relay = measures.round_trips([one.client, two.client], 500)
    more = (relay - forwards) * 1e3
    return Row(
        "relay: kernel_info round trip",
        "≤ forwards + 0.3 ms",
        more,
        more <= 0.3,
        f"+ {more:.2f} ms ({relay * 1e3:.2f} ms, forwards {forwards * 1e3:.2f} ms)",
        {"relay": relay, "forwards": forwards},
    )


def throughput(server: Sshd) -> Row:
    with no_forwards() as other:
        with ours(server) as kernel:
            forwards = measures.throughput(kernel.client, 200)
        with ours(other) as kernel:
            relay = measures.throughput(kernel.client, 200)
    ratio = relay / forwards
    return Row(
        "relay: 200 MB of iopub",
        "≥ 0.7 × forwards",
        ratio,
        ratio >= 0.7,
        f"{ratio:.2f} × ({relay / 1e6:.0f} MB/s, forwards {forwards / 1e6:.0f} MB/s)",
        {"relay": relay, "forwards": forwards},
    )


def _bare(server: Sshd, megabytes: int) -> float:
    """Bytes per second of so many megabytes out of one session of ssh."""
    return measures.out_of(server, f"head -c {megabytes}000000 /dev/zero")


def throughput_far(server: Sshd) -> Row:
    with no_forwards() as other, through_link(other) as link:
        link.set_delay(FAR)
        floor = _bare(other, 200)
        with ours(other) as kernel:
            relay = measures.throughput(kernel.client, 200)
    ratio = relay / floor
    return Row(
        "relay: 200 MB of iopub, 50 ms",
        "≥ ssh HOST cat",
        ratio,
        ratio >= 1,
        f"{ratio:.2f} × ({relay / 1e6:.0f} MB/s, ssh {floor / 1e6:.0f} MB/s)",
        {"relay": relay, "ssh": floor},
    )


def interrupt(server: Sshd) -> Row:
    with no_forwards() as other, through_link(other) as link, ours(other) as kernel:
        link.set_rate(20_000_000)
        seconds = measures.interrupt_while_sending(kernel, 500)
        link.set_rate(0)
    return Row(
        "relay: interrupt while 500 MB are on the way at 20 MB/s",
        "≤ 0.3 s",
        seconds,
        seconds <= 0.3,
        f"{seconds:.2f} s",
    )


def many(server: Sshd) -> Row:
    count = 20
    with no_forwards() as other, ours(other):
        kernels = processes.start_all("ours", count)
        log = other.log.read_text()
        begun, ended = log.count("Starting session"), log.count("Close session")
        processes.end_all(kernels)
    return Row(
        f"relay: sessions of {count} kernels",
        "1",
        begun - ended,
        begun - ended == 1,
        f"{begun - ended}",
    )
