"""The commands over allocations of a real Slurm."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from tests.cli.conftest import Call, config_of, names, sshpyk
from tests.cli.test_described import check_all
from tests.faults.test_outages import Lines
from tests.lab.kernels import client_of, link_of, run_code, started, write_spec
from tests.lab.slurm import Slurm
from tests.lab.sshd import Sshd

__all__ = ["sshpyk"]  # a fixture

pytestmark = pytest.mark.sshd


def test_from_adding_to_collecting(
    slurm: Slurm, login: Sshd, sshpyk: Call, remote_home: Path
) -> None:
    host = ("login", "--ssh-config", str(login.ssh_config))
    python = ("--remote-python", sys.executable)
    refused = sshpyk("add", *host, *python, "--slurm", "partition=nowhere", sys.executable)
    assert refused.status == 1
    assert "invalid partition specified" in refused.err
    injected = sshpyk("add", *host, *python, "--slurm", "time=1 ;id", sys.executable)
    assert injected.status == 2
    added = sshpyk(
        *("add", *host, *python, sys.executable, "--slurm", "time=20", "--allocation", "mine")
    )
    assert added.status == 0, added.err
    assert "would take it" in added.err
    assert slurm.jobs() == {}, "nothing is asked for before a kernel starts"
    (name,) = names()
    assert name.startswith("slurm_mine")
    assert (config_of(name)["slurm"], config_of(name)["allocation"]) == ("time=20", "mine")
    listed = sshpyk("list", "--remote", "--json")
    marks = {check["what"]: check["mark"] for check in listed.json[0]["checks"]}
    assert marks["Allocation"] == "i"
    assert marks["SSH Connection"] == marks["Remote Kernel Name"] == "v", listed.out

    begun = sshpyk("allocations", "start", "mine")
    assert begun.status == 0, begun.err
    (job,) = slurm.jobs()
    assert f"job {job}" in begun.out
    with started(name) as (manager, client):
        assert run_code(client, "import os; print(os.environ['SLURM_JOB_ID'])") == f"{job}\n"
        assert slurm.calls("sbatch") == 3, "two were tries"
        id = link_of(manager).agent.id
        (shown,) = sshpyk("ps", "--json").json
        assert (shown["id"], shown["host"]) == (id, "slurm:mine on login")
        assert shown["state"] == "attached"
        told = sshpyk("ps")
        assert f"slurm:mine: job {job}, running on n" in told.err, told.err
        extended = sshpyk("allocations", "extend", "mine", "--by", "30")
        assert "extended by 30 min" in extended.out, extended.err
        written = sshpyk("allocations", "--json")
        check_all(written.out, "allocations")
        (row,) = written.json
        assert (row["name"], row["job"], row["state"]) == ("mine", job, "running")
        assert row["host"] == "login"
        assert 40 * 60 < row["ends_at"] - time.time() <= 50 * 60 + 5
        assert " min" in sshpyk("allocations").out
        walked = sshpyk("doctor", name, "--no-launch")
        assert walked.status == 0, walked.out
        assert f"mine is job {job}, running" in walked.out
        run_code(client, "print('said in the job')")
        cancelled = sshpyk("allocations", "cancel", "mine", "--host", "login")
        assert cancelled.status == 0, cancelled.err
        slurm.until_gone(job)
    assert sshpyk("allocations", "--json").json == []
    assert sshpyk("allocations", "cancel", "mine").status == 2


SAY = "import time\nfor n in range(1000):\n    print('line', n, flush=True)\n    time.sleep(0.05)"


def test_what_was_said_to_nobody_outlives_the_allocation(
    slurm: Slurm, login: Sshd, sshpyk: Call, tmp_path: Path
) -> None:
    write_spec("left", login, slurm="time=20", allocation="left", persistent=True)
    cell: dict[str, Any] = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
    }
    notebook: dict[str, Any] = {"cells": [{**cell, "source": SAY}], "metadata": {}, "nbformat": 4}
    notebook["nbformat_minor"] = 4
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps(notebook))
    manager = KernelManager(kernel_name="left")
    manager.start_kernel()
    with client_of(manager) as client:
        client.execute(SAY)
        Lines(client).read_until(lambda: True)
        job = next(iter(slurm.jobs()))
        id = link_of(manager).agent.id
        manager.shutdown_kernel()  # which leaves it
    manager.context.destroy(linger=100)
    assert sshpyk("ps", "--json").json[0]["state"] == "detached"
    slurm.run("scancel", job)
    slurm.until_gone(job)
    ended = sshpyk("ps", "--all", "--json").json
    assert [row["state"] for row in ended if row["id"] == id] == ["exited"]
    collected = sshpyk("collect", id[:8], str(path))
    assert collected.status == 0, collected.err
    outputs = json.loads(path.read_text())["cells"][0]["outputs"]
    assert "line 1" in "".join(outputs[0]["text"])
