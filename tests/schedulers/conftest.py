"""A Slurm that all tests of a session share, and a login node before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.slurm import Slurm, login_node, trouble
from tests.lab.sshd import Sshd


@pytest.fixture(scope="session")
def cluster() -> Iterator[Slurm]:
    """The one Slurm of the session."""
    if reason := trouble():
        pytest.skip(reason)
    with Slurm() as made:
        yield made


@pytest.fixture
def slurm(cluster: Slurm) -> Iterator[Slurm]:
    """The Slurm, without a job before and after."""
    cluster.cancel_all()
    yield cluster
    cluster.cancel_all()


@pytest.fixture(scope="module")
def login(cluster: Slurm, remote_home: Path) -> Iterator[Sshd]:
    """A login node, which forwards nothing: its sessions have Slurm's commands, each call of which
    is noted."""
    with login_node(cluster, remote_home) as server:
        yield server


@pytest.fixture
def other_login(cluster: Slurm, remote_home: Path) -> Iterator[Sshd]:
    """Another of the same cluster, which forwards."""
    with login_node(cluster, remote_home, forwards=True) as server:
        yield server
