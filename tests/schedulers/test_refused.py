"""What a cluster refuses: a sentence with a next step, and no job left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from sshpyk.transport import queue
from tests.lab.kernels import run_code, started, write_card
from tests.lab.slurm import Slurm


@pytest.fixture
def here(slurm: Slurm, short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine is the login node; the directory whose programs are found first."""
    own = short_tmp / "bin"
    own.mkdir()
    monkeypatch.setenv("PATH", f"{own}:{slurm.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(short_tmp))
    return own


def start(options: str, name: str) -> errors.SshpykError:
    """What a start of a kernel raises."""
    write_card("refused", slurm=options, allocation=name, queue_timeout=2.0)
    manager = KernelManager(kernel_name="refused")
    try:
        with pytest.raises(errors.SshpykError) as caught:
            manager.start_kernel()
    finally:
        manager.context.destroy(linger=100)
    return caught.value


LIMITS = "Ask for less"


@pytest.mark.parametrize(
    ("options", "text", "advice", "shows"),
    [
        ("partition=nowhere", "invalid partition specified", "another partition", "sinfo"),
        ("account=chem partition=theirs", "Invalid account", "account and a QOS", "sacctmgr"),
        ("time=5-00:00:00", "time limit is invalid", LIMITS, "%l"),
        ("nodes=9", "Node count specification invalid", LIMITS, "%D"),
        ("cpus-per-task=90", "More processors requested than permitted", LIMITS, "%c"),
        ("mem=90G", "node configuration is not available", LIMITS, "%m"),
        ("partition=small mem=2G", "Memory required by task is not available", LIMITS, "%m"),
        ("gres=gpu:8", "node configuration is not available", LIMITS, "%G"),
        ("gres=tpu:1", "Invalid generic resource", "what the partitions have", "%G"),
        ("nodelist=n7", "Invalid node name specified", "Name machines of the cluster", "%N"),
        ("nonsense=1", "unrecognized option", "Correct the options", "sbatch --help"),
    ],
)
def test_what_slurm_refuses(
    here: Path, slurm: Slurm, options: str, text: str, advice: str, shows: str
) -> None:
    """Slurm's own sentence, ours, and a command to be typed here."""
    error = start(options, f"no-{options.partition('=')[0]}")
    assert isinstance(error, errors.JobRefused), error
    told = " ".join(str(error).split())
    assert text in told
    assert advice in told
    assert error.command.startswith(("sinfo ", "sbatch ", "sacctmgr "))
    assert shows in error.command
    assert slurm.jobs() == {}


def test_what_would_never_start_is_taken_back(here: Path, slurm: Slurm) -> None:
    """Sites that take all jobs let those wait for ever which no waiting helps."""
    fake(here, "sbatch", 'exec {real} "$@" --hold', slurm)
    fake(here, "squeue", '{real} "$@" | sed "s/JobHeldUser/PartitionTimeLimit/"', slurm)
    error = start("time=5", "never")
    assert isinstance(error, errors.NeverStarts), error
    assert "more time than its partition allows" in " ".join(str(error).split())
    assert slurm.jobs() == {}


def test_of_two_that_ask_at_once_one_is_taken_back(here: Path, slurm: Slurm) -> None:
    """Another client has asked a moment before, and both have found nothing."""
    twice = 'f=$(mktemp); cat >$f; {real} "$@" <$f >/dev/null; {real} "$@" <$f; rm $f'
    fake(here, "sbatch", twice, slurm)
    write_card("two", slurm="time=5", allocation="two")
    with started("two") as (_, client):
        job = run_code(client, "import os; print(os.environ['SLURM_JOB_ID'])").strip()
        assert slurm.jobs() == {job: "RUNNING"}
        assert slurm.calls("sbatch") == 2
        (cancelled,) = (line for line in slurm.log.read_text().splitlines() if "scancel" in line)
        assert int(cancelled.split()[1]) > int(job)


def test_no_munge(here: Path, slurm: Slurm) -> None:
    slurm.end("munge")
    try:
        error = start("time=5", "munge")
    finally:
        slurm.start("munge")
    assert isinstance(error, errors.SchedulerDown), error
    assert "munge" in str(error)


def test_a_squeue_that_hangs(here: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "COMMAND_WITHIN", 0.5)
    fake(here, "squeue", "exec sleep 60", slurm)
    error = start("time=5", "hangs")
    assert isinstance(error, errors.SchedulerDown), error
    assert "has not ended within 0.5 s" in " ".join(str(error).split())
    assert slurm.jobs() == {}


def test_a_slurm_without_overlap(here: Path, slurm: Slurm) -> None:
    """It started, and can't be used: the job that was asked for goes with the start."""
    fake(here, "srun", "echo \"srun: unrecognized option '--overlap'\" >&2; exit 1", slurm)
    error = start("time=5", "old")
    assert isinstance(error, errors.SchedulerTooOld), error
    assert "20.11" in str(error)
    assert slurm.jobs() == {}


def test_no_slurm_at_all(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sh", "head", "env", "python3"):
        (here / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setattr(queue, "RUN", 'exec "$@"')
    error = start("time=5", "none")
    assert isinstance(error, errors.NoScheduler), error
    assert "PATH" in str(error)


def fake(directory: Path, name: str, script: str, slurm: Slurm) -> None:
    """A program of Slurm's that does something else."""
    path = directory / name
    path.write_text("#!/bin/sh\n" + script.format(real=slurm.bin / name) + "\n")
    path.chmod(0o755)
