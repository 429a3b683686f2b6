"""What Slurm prints, what is given to it, and when the end is told: all without a Slurm."""

from __future__ import annotations

import pytest

from sshpyk import errors
from sshpyk.link.ending import Ending
from sshpyk.schedulers.base import Allocation, Phase, default_name, options, pick
from sshpyk.schedulers.slurm import Slurm
from sshpyk.transport.queue import holder_script

SLURM = Slurm()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("partition=gpu gres=gpu:1", ["--partition=gpu", "--gres=gpu:1"]),
        ("--time=4:00:00 exclusive", ["--time=4:00:00", "--exclusive"]),
        ("comment='a b; rm -rf ~'", ["--comment=a b; rm -rf ~"]),
        ("constraint='[a|b]&c'", ["--constraint=[a|b]&c"]),
    ],
)
def test_each_word_is_one_option(text: str, words: list[str]) -> None:
    assert options(text) == words


@pytest.mark.parametrize(
    "text",
    [
        *("-p gpu", "gpu", "time= x", "=1", "; id", "$(id)", "`id`", "a=\x1b[2J", "'"),
        *("wrap=id", "--wrap=id", "output=/etc/x", "array=0-9", "job-name=x", "chdir=/", "A=b"),
    ],
)
def test_nothing_else_is_an_option(text: str) -> None:
    if text == "gpu":  # sbatch itself says that there is no such option
        assert options(text) == ["--gpu"]
        return
    with pytest.raises(errors.SettingsError):
        options(text)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a;b", "$(x)", "a/b", "ä", "x" * 64])
def test_names_are_names(name: str) -> None:
    with pytest.raises(errors.SettingsError):
        Allocation("", name).check()


def test_nobody_gets_code_into_the_job() -> None:
    script = holder_script(Allocation("", "a", python="/opt/it's a $(trap)/bin/python3"))
    second = script.splitlines()[1]
    assert second.startswith("exec '/opt/it'\"'\"'s a $(trap)/bin/python3' -I -S ")
    assert script.splitlines().count("SSHPYK2_END") == 1


def test_the_same_options_have_the_same_name() -> None:
    assert default_name("partition=gpu  time=1") == default_name("partition=gpu time=1")
    assert default_name("partition=gpu time=1") != default_name("partition=gpu time=2")
    assert default_name("partition=gpu time=1").startswith("gpu-")
    assert default_name("").startswith("default-")


LINES = """\
12|RUNNING|None|1795840146|1795840266|n1|main|N/A|sshpyk-x
11|PENDING|Priority|1795840900|N/A||gpu|gres:gpu:1|sshpyk-x
13|PENDING|PartitionTimeLimit|N/A|N/A||gpu|N/A|sshpyk-y
14|COMPLETING|TimeLimit|1795840146|1795840266|n1|main|N/A|sshpyk-z
15_2|PENDING|Priority|N/A|N/A||main|N/A|their array
16|RUNNING|None|N/A|N/A|n2|main|N/A|a|b|sshpyk-x
17|PENDING|(QOSMaxSomethingNew, and more)|N/A|N/A||main|N/A|sshpyk-q
18|CANCELLED|None|1795840146|1795840266|n1|main|N/A|sshpyk-x
19|NEW_STATE|None|||||N/A|sshpyk-n
warning: something else
"""


# As slurmctld 22.05 with slurmdbd had squeue show them; the names are ours.
LIMITS = """\
5|PENDING|AssocGrpCpuLimit|N/A|N/A||main|N/A|sshpyk-a
9|PENDING|QOSMaxJobsPerUserLimit|N/A|N/A||main|N/A|sshpyk-b
10|PENDING|QOSMaxWallDurationPerJobLimit|N/A|N/A||main|N/A|sshpyk-c
11|PENDING|QOSMaxCpuPerUserLimit|N/A|N/A||main|N/A|sshpyk-d
"""


def test_limits_of_accounts_and_qos() -> None:
    jobs = SLURM.jobs(LIMITS)
    assert [job.is_hopeless for job in jobs] == [False, False, True, False]
    assert all(job.words and "is reached" not in job.words for job in jobs), "each has its own"


def test_lines_of_squeue() -> None:
    jobs = {job.id: job for job in SLURM.jobs(LINES)}
    assert set(jobs) == {"11", "12", "13", "14", "16", "17", "18", "19"}
    assert (jobs["12"].phase, jobs["12"].node, jobs["12"].ends_at) == (
        *(Phase.RUNNING, "n1", 1795840266.0),
    )
    assert (jobs["11"].words, jobs["11"].starts_at) == ("others are before it", 1795840900.0)
    assert jobs["11"].gpus == "gres:gpu:1"
    assert jobs["13"].is_hopeless
    assert not jobs["17"].is_hopeless
    assert "limit" in jobs["17"].words
    assert jobs["14"].phase is Phase.ENDED
    assert jobs["14"].words == "its time was up"
    assert jobs["16"].allocation == ""
    assert jobs["19"].phase is Phase.ENDED
    mine = pick(list(jobs.values()), "x")
    assert mine is not None
    assert mine.id == "11", "of two the one that was submitted first, for all who look"


def test_gpus_however_they_were_asked_for() -> None:
    printed = "7   gres:gpu:1   N/A   N/A  \n8   N/A   N/A   N/A\n9 N/A gres:gpu:a100:2 N/A\n\n"
    assert SLURM.gpus(printed) == {"7": "gres:gpu:1", "9": "gres:gpu:a100:2"}
    assert SLURM.gpus("7 N/A cpu=1,gres/gpu:1 N/A\n") == {"7": "cpu=1,gres/gpu:1"}


@pytest.mark.parametrize(
    ("said", "kind", "shown"),
    [
        (
            "sbatch: error: invalid partition specified: gpuu\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            *(errors.JobRefused, "sinfo"),
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition "
            "combination specified",
            *(errors.JobRefused, "sacctmgr"),
        ),
        # These are as slurmdbd and slurmctld 22.05 had sbatch say them.
        (
            "sbatch: error: Batch job submission failed: Invalid qos specification",
            *(errors.JobRefused, "sacctmgr"),
        ),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission "
            "failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time "
            "limits)",
            *(errors.JobRefused, "as many jobs of yours as its QOS allows are there"),
        ),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission "
            "failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time "
            "limits)",
            *(errors.JobRefused, "than its QOS allows. Ask for less"),
        ),
        (
            "sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job "
            "submission failed: Requested node configuration is not available",
            *(errors.JobRefused, "limits"),
        ),
        (
            "sbatch: error: Batch job submission failed: Requested reservation is invalid",
            *(errors.JobRefused, "scontrol show reservation"),
        ),
        (
            "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing "
            "or exceeds some limit)",
            *(errors.JobRefused, "limits"),
        ),
        ("sbatch: unrecognized option '--partion=x'", errors.JobRefused, "sbatch --help"),
        ("srun: unrecognized option '--overlap'", errors.SchedulerTooOld, "20.11"),
        (
            "squeue: error: If munged is up, restart with --num-threads=10\nsqueue: error: Munge "
            'encode failed: Failed to access "/run/munge/munge.socket.2"',
            *(errors.SchedulerDown, "administrator"),
        ),
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            *(errors.SchedulerDown, "squeue --me"),
        ),
        ("sh: 1: exec: squeue: not found", errors.NoScheduler, "PATH"),
        ("srun: error: Unable to confirm allocation for job 5: Invalid job id specified", None, ""),
    ],
)
def test_a_refusal_is_a_sentence_with_a_next_step(
    said: str, kind: type[errors.SshpykError] | None, shown: str
) -> None:
    refusal = SLURM.refusal(1, said)
    assert refusal is not None
    assert refusal.kind is (kind or errors.AllocationEnded)
    rest = {"host": "login", "scheduler": "Slurm", "program": "squeue", "command": "ssh login"}
    error = refusal.kind(**{**rest, "remote": "", **refusal.fields, "name": "x", "job": "5"})
    assert shown in " ".join(str(error).split())
    if kind is errors.JobRefused and ": error:" in said:
        assert said.rpartition("failed: ")[2] in " ".join(str(error).split())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("MinMemoryNode=400M", ": 400M a machine"),
        ("MinMemoryCPU=1500M", ": 1500M a processor"),
        ("MinMemoryNode=0", ""),  # all that there is
    ],
)
def test_how_a_job_ended_by_scontrol(asked: str, told: str) -> None:
    shown = f"JobId=1 JobName=wrap JobState=OUT_OF_MEMORY Reason=OutOfMemory {asked} Power=\n"
    assert SLURM.how_it_ended(shown) == f"it used more memory than it had asked for{told}"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("CANCELLED by 0\n", "it was cancelled (scancel)"),
        ("COMPLETED\n", "no kernel had run in it for its idle time"),
        ("OUT_OF_MEMORY\n", "it used more memory than it had asked for"),
        ("OUT_OF_MEMORY|0:125|400M\n", "it used more memory than it had asked for: 400M"),
        ("OUT_OF_MEMORY|0:125|2Gc\n", "it used more memory than it had asked for: 2G a processor"),
        ("OUT_OF_MEMORY|0:125|0\n", "it used more memory than it had asked for"),
        (
            "FAILED|0:9|400M\n",
            "its program was killed, perhaps for using more memory than it had asked for: 400M",
        ),
        ("FAILED|1:0|400M\n", "its program ended with an error"),
        ("TIMEOUT|0:0|400M\n", "its time was up"),
        *(("RUNNING\n", ""), ("PENDING\n", ""), ("", "")),  # it lags behind
    ],
)
def test_how_a_job_ended_by_sacct(printed: str, words: str) -> None:
    assert SLURM.how_it_ended(printed) == words


def test_the_end_is_told_twice_and_after_it_was_moved_again() -> None:
    ending = Ending()
    assert not ending.is_due(0, None)
    assert not ending.is_due(0, 1000)
    assert ending.is_due(100, 1000)
    assert not ending.is_due(101, 1000), "it is being looked up"
    assert ending.tell(102, 1000) == "in 15 min"
    assert not ending.is_due(600, 1000)
    assert ending.is_due(700, 1000)
    assert ending.tell(701, 4600) == "", "somebody has extended it"
    assert not ending.is_due(702, 4600)
    assert ending.is_due(3701, 4600)
    assert ending.tell(3701, 4600) == "in 15 min"
    assert ending.is_due(4300, 4600)
    assert ending.tell(4520, 4600) == "in 80 s"
    assert not ending.is_due(4590, 4600)
