"""The ways to a kernel on a host behind a link, on each of which the same faults are tried.

What a test tries on others than the first it says itself (`params`). FAULTS_WAYS=all in the
environment has every test run on every way, which takes half an hour; FAULTS_WAYS="via inside" on
those alone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.faults.chain import CarriedChain, Chain, ScheduledChain
from tests.jupyter.server import Server
from tests.lab.kernels import write_card, write_spec
from tests.lab.link import Link
from tests.lab.slurm import Slurm, login_node
from tests.lab.sshd import Sshd
from tests.server.servers import remote
from tests.server.servers import write_card as write_server_card

#: On the host, what `inside` enters by: like `docker exec`, a process that stays between and
#: copies what goes in and out, and ends with the status of what it has run.
ENTER = """\
#!/bin/bash
"$@" < <(exec cat) > >(exec cat)
"""

#: Which processes are between a client and its kernel, by the names that `Chain` has for them.
WAYS: dict[str, tuple[str, ...]] = {
    "forwards": ("master", "session", "agent", "kernel"),
    "relay": ("master", "program", "session", "relay", "agent", "kernel"),
    "via": ("program", "session", "relay", "agent", "kernel"),
    "inside": ("master", "program", "session", "relay", "agent", "kernel"),
    "paramiko": ("session", "relay", "agent", "kernel"),
    "slurm": ("master", "program", "session", "relay", "agent", "kernel"),
    "carried": ("helper", "relay", "agent", "kernel"),
}

FORWARDS, *OTHERS = WAYS

_wanted = os.environ.get("FAULTS_WAYS", "").split()
WANTED = list(WAYS) if _wanted == ["all"] else _wanted
assert set(WANTED) <= set(WAYS), f"FAULTS_WAYS: there are {', '.join(WAYS)}"


class Way:
    """One way to a host: `link` and `chain` may be broken, cards written with `write_spec`."""

    link: Link
    chain: Chain

    def __init__(self, name: str, server: Sshd, home: Path) -> None:
        assert server.link is not None
        self.name = name
        self.server = server
        self.link = server.link
        self.chain = Chain(server, home)

    @property
    def parts(self) -> tuple[str, ...]:
        """The processes that it has."""
        return WAYS[self.name]

    def write_spec(self, name: str, **config: Any) -> None:
        """Write a kernelspec called `name` by which kernels are reached this way."""
        server = self.server
        if self.name == "via":
            words = ["ssh", "-F", str(server.ssh_config), server.host]
            write_card(name, via=shlex.join(words), **config)
            return
        if self.name == "paramiko":
            config["ssh"] = "paramiko"
        elif self.name == "inside":
            enter = server.directory / "enter"
            enter.write_text(ENTER)
            enter.chmod(0o755)
            config["inside"] = str(enter)
        write_spec(name, server, **config)


class ScheduledWay(Way):
    """The way into a job of Slurm's, from a login node that forwards nothing."""

    def __init__(self, server: Sshd, slurm: Slurm, home: Path) -> None:
        super().__init__("slurm", server, home)
        self.chain = ScheduledChain(server, slurm, home)

    def write_spec(self, name: str, **config: Any) -> None:
        super().write_spec(name, slurm="time=30", queue_timeout=60.0, **config)


class CarriedWay(Way):
    """The way to the kernels of a Jupyter Server."""

    def __init__(self, server: Server, link: Link, home: Path) -> None:
        self.name = "carried"
        self.jupyter = server
        self.link = link
        self.chain = CarriedChain(server.pid, home)

    def write_spec(self, name: str, **config: Any) -> None:
        config.setdefault("server_way", "carried")
        write_server_card(name, f"http://127.0.0.1:{self.link.port}/", **config)


@contextlib.contextmanager
def to_server(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[CarriedWay]:
    """A server behind a link; `home` is that of its kernels, `environment` what else they find in
    theirs. In the end it has none any more."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**(environment or {}), "HOME": str(home)}.items():
            patch.setenv(name, value)
        server = remote(home)
        jupyter = server.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(server)
        with pytest.MonkeyPatch.context() as patch, Link(jupyter.port) as link:
            patch.setenv("SERVER_TOKEN", jupyter.token)
            yield CarriedWay(jupyter, link, home)


@contextlib.contextmanager
def to_host(name: str, home: Path, **kwargs: Any) -> Iterator[Way]:
    """A way, and the server to which it leads; `home` is that of its kernels."""
    if name == "carried":
        with to_server(home, **kwargs) as carried:
            yield carried
        return
    if name == "slurm":
        with Slurm() as slurm, login_node(slurm, home, link=True, **kwargs) as server:
            yield ScheduledWay(server, slurm, home)
        return
    options = ["DisableForwarding yes"] if name == "relay" else []
    with Sshd(link=True, home=home, options=options, **kwargs) as server:
        yield Way(name, server, home)


#: What can't be so for kernels on a way, and why: for `params`.
NO_LEASE = {
    "carried": (
        "its kernel is the server's, and no lease ends it; its agent runs by the helper kernel's "
        "Python, whose clock is the machine's: tests/server/test_carried.py::"
        "test_a_client_that_vanished"
    )
}


def params(
    others: Iterable[str] = (),
    *,
    parts: Iterable[str] = (),
    without: Mapping[str, str] = MappingProxyType({}),
) -> list[Any]:
    """The ways for a fixture `way`: the first and `others`, or those that were asked for.

    Of them, those that have all of `parts`; for those in `without` the test is skipped, and why.
    """
    names = [name for name in WANTED or [FORWARDS, *others] if set(parts) <= set(WAYS[name])]
    skip = pytest.mark.skip
    return [
        pytest.param(name, marks=skip(reason=without[name])) if name in without else name
        for name in names
    ]


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """The way that is the fixture's parameter; a server of the test's own."""
    with to_host(request.param, tmp_path) as made:
        yield made
