"""Kernels in allocations of a real Slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab.kernels import link_of, run_code, started, write_spec
from tests.lab.slurm import Slurm
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd


def test_a_kernel_in_a_job(slurm: Slurm, login: Sshd) -> None:
    write_spec("far", login, slurm="time=5", allocation="far")
    with started("far") as (manager, client):
        job = run_code(client, "import os; print(os.environ['SLURM_JOB_ID'])").strip()
        assert slurm.jobs() == {job: "RUNNING"}
        print(slurm.log.read_text())
    assert slurm.jobs() == {job: "RUNNING"}
