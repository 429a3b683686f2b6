"""Slurm, from 20.11: its commands, its states and reasons, and what its refusals mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .. import errors
from .base import PREFIX, Allocation, Job, Phase, Refusal, Scheduler

#: The fields of a line of squeue; the name comes last, for it may have a "|" in it.
FIELDS = "%i|%T|%r|%S|%e|%B|%P|%b|%j"

#: What states mean that are none of a job that is over.
LIVING = {
    "PENDING": (Phase.PENDING, ""),
    "CONFIGURING": (Phase.PENDING, "its machines are being started"),
    "REQUEUED": (Phase.PENDING, "it was put back into the queue"),
    "REQUEUE_HOLD": (Phase.PENDING, "it was put back and is held"),
    "RESV_DEL_HOLD": (Phase.PENDING, "its reservation is gone, and it is held"),
    "RUNNING": (Phase.RUNNING, ""),
    "SIGNALING": (Phase.RUNNING, ""),
    "STAGE_OUT": (Phase.RUNNING, ""),
    "RESIZING": (Phase.RUNNING, ""),
    "SUSPENDED": (Phase.PENDING, "it is suspended: its processes stand still"),
    "STOPPED": (Phase.PENDING, "it is stopped: its processes stand still"),
}

OUT_OF_MEMORY = "OUT_OF_MEMORY"
FAILED = "FAILED"

#: States of which `scontrol` knows more.
UNCLEAR = (OUT_OF_MEMORY, FAILED)

#: How a job ended.
ENDED = {
    "CANCELLED": "it was cancelled (scancel)",
    "TIMEOUT": "its time was up",
    "DEADLINE": "its deadline had come",
    "PREEMPTED": "its machines were given to another job (preempted)",
    "NODE_FAIL": "a machine of it failed",
    "BOOT_FAIL": "its machines did not start",
    OUT_OF_MEMORY: "it used more memory than it had asked for",
    "COMPLETED": "no kernel had run in it for its idle time",
    FAILED: "its program ended with an error",
    "REVOKED": "another cluster runs it",
    "COMPLETING": "it is being ended (scancel, or its time)",
}

#: The reasons of a job that is being ended, in squeue's words.
ENDING = {
    "TimeLimit": "TIMEOUT",
    "NodeDown": "NODE_FAIL",
    "NodeFail": "NODE_FAIL",
    "OutOfMemory": OUT_OF_MEMORY,
    "NonZeroExitCode": FAILED,
    "JobLaunchFailure": "BOOT_FAIL",
}

#: Why a job waits.
REASONS = {
    "None": "Slurm has not looked at it yet",
    "Priority": "others are before it",
    "Resources": "it is next, and waits for machines to become free",
    "Dependency": "it waits for another job",
    "BeginTime": "its time to begin has not come",
    "JobHeldUser": "you hold it back (scontrol release)",
    "JobHeldAdmin": "an administrator holds it back",
    "Licenses": "it waits for a licence",
    "ReqNodeNotAvail": "machines that it names are not available",
    "Reservation": "it waits for its reservation",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is not active",
    "NodeDown": "a machine that it needs is down",
    "QOSJobLimit": "as many jobs as its QOS allows are there",
    "QOSResourceLimit": "its QOS has reached a limit",
    "QOSMaxJobsPerUserLimit": "as many jobs as you may run are running",
    "QOSMaxGRESPerUser": "you use as many GPUs as you may",
    "QOSMaxCpuPerUserLimit": "you use as many processors as you may",
    "AssocMaxJobsLimit": "as many jobs as you may run are running",
    "AssocGrpGRES": "your account uses as many GPUs as it may",
    "AssocGrpCpuLimit": "your account uses as many processors as it may",
    "AssocGrpMemLimit": "your account uses as much memory as it may",
    "AssocGrpCPUMinutesLimit": "your account has used up its time",
    "AssocGrpBillingMinutes": "your account has used up its time",
    "QOSMaxSubmitJobPerUserLimit": "as many jobs of yours as its QOS allows are there",
    "AssocMaxSubmitJobLimit": "as many jobs of yours as you may submit are there",
    "MaxJobsPerAccount": "as many jobs as your account may run are running",
}

#: Reasons that no waiting changes, and what they mean.
HOPELESS = {
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionNodeLimit": "it asks for more machines than its partition has",
    "BadConstraints": "no machine is what it asks for",
    "InvalidAccount": "its account can't be used",
    "AccountNotAllowed": "its account may not use that partition",
    "InvalidQOS": "its QOS can't be used",
    "QOSNotAllowed": "its QOS may not use that partition",
    "DependencyNeverSatisfied": "what it waits for never comes",
    "QOSMaxWallDurationPerJobLimit": "it asks for more time than its QOS allows",
    "AssocMaxWallDurationPerJobLimit": "it asks for more time than you may have",
    "QOSMaxCpuPerJobLimit": "it asks for more processors than its QOS allows",
    "AssocMaxCpuPerJobLimit": "it asks for more processors than you may have",
    "QOSMaxGRESPerJob": "it asks for more GPUs than its QOS allows",
    "AssocMaxGRESPerJob": "it asks for more GPUs than you may have",
    "QOSMaxNodePerJobLimit": "it asks for more machines than its QOS allows",
    "QOSMaxMemoryPerJob": "it asks for more memory than its QOS allows",
}

#: What a command of Slurm's says, the kind of error, and what to do about it.
_LIMITS = "Ask for less: the limits of partitions are shown by:"
_SHOW_PARTITIONS = "sinfo -o '%P %l %D %c %m %G'"
_SHOW_LIMITS = "sacctmgr show qos format=name,maxwall,maxjobspu,maxsubmitpu,maxtrespu"
_SHOW_ACCOUNTS = "sacctmgr show assoc user=$USER format=account,partition,qos,maxwall,grptres"
_TABLE: tuple[tuple[str, type[errors.SshpykError], str, str], ...] = (
    (
        r"(?i:munge|Protocol authentication error|Invalid authentication credential)",
        errors.SchedulerDown,
        "Its authentication (munge) does not work there. Tell its administrator; this shows it:",
        "squeue --me",
    ),
    (
        r"Unable to contact slurm controller|Connection (refused|timed out)|Zero Bytes were trans"
        r"|Socket timed out|[Nn]etwork is unreachable|slurm_persist_conn_open|establish a conf"
        r"|Unable to process configuration file|resolve_ctls_from_dns",
        errors.SchedulerDown,
        "Nothing was asked for in vain: try again when it answers. This shows it:",
        "squeue --me",
    ),
    (
        r"unrecognized option '?--?overlap",
        errors.SchedulerTooOld,
        "",
        "",
    ),
    (
        r"invalid partition specified|[Ii]nvalid partition name",
        errors.JobRefused,
        "Name another partition; those that there are:",
        _SHOW_PARTITIONS,
    ),
    (
        r"Invalid account|Invalid qos|Invalid wckey|[Aa]ccount.*(not permitted|not allowed)"
        r"|[Uu]ser'?s group not permitted|not permitted to use this partition"
        r"|Access/permission denied",
        errors.JobRefused,
        "Name an account and a QOS that are yours (account=… qos=…); those are shown by:",
        _SHOW_ACCOUNTS,
    ),
    (
        r"violates accounting/QOS policy|MaxSubmitJob|job submit limit",
        errors.JobRefused,
        "Ask for less, or wait for jobs of yours to end; the limits of a QOS are shown by:",
        _SHOW_LIMITS,
    ),
    (
        r"time limit is invalid|[Nn]ode count specification"
        r"|More processors requested|Requested node configuration|Memory specification|exceeds"
        r"|Memory required by task|Job size specification",
        errors.JobRefused,
        _LIMITS,
        _SHOW_PARTITIONS,
    ),
    (
        r"Invalid node name",
        errors.JobRefused,
        "Name machines of the cluster, or none; those that there are:",
        "sinfo -N -o '%N %P %T'",
    ),
    (
        r"reservation is invalid|Invalid license",
        errors.JobRefused,
        "Correct or leave it out; the cluster's reservations and licences are shown by:",
        "scontrol show reservation; scontrol show licenses",
    ),
    (
        r"[Ii]nvalid generic resource|Invalid GRES",
        errors.JobRefused,
        "Ask for what the partitions have (their GPUs are in the last column):",
        _SHOW_PARTITIONS,
    ),
    (
        r"unrecognized option|[Ii]nvalid (feature|option|.* specification)|(?i:unknown) option",
        errors.JobRefused,
        "Correct the options (`slurm`): they are those of sbatch, by their long names:",
        "sbatch --help",
    ),
)

#: What srun says of a job that is over.
_OVER = (
    r"Invalid job id|already (complete|completing)|Unable to confirm allocation"
    r"|has expired|is not running"
)


class Slurm(Scheduler):
    """Slurm."""

    name = "Slurm"

    @property
    def look(self) -> list[str]:
        return ["env", "SLURM_TIME_FORMAT=%s", "squeue", "--me", "-h", "-t", "all", "-o", FIELDS]

    def jobs(self, text: str) -> list[Job]:
        found = (_job(line) for line in text.splitlines())
        return [job for job in found if job is not None]

    def submit(self, allocation: Allocation) -> list[str]:
        words = ["sbatch", "--parsable", f"--job-name={PREFIX}{allocation.name}", "--no-requeue"]
        return [*words, "--output=/dev/null", *allocation.words]

    def submitted(self, text: str) -> str | None:
        # Behind what a site's plugin may print: the id, and the cluster's name.
        found = re.findall(r"^(\d{1,18})(?:;\S+)?$", text, re.MULTILINE)
        return found[-1] if found else None

    def try_out(self, allocation: Allocation) -> list[str]:
        return [*self.submit(allocation), "--test-only"]

    def tried(self, text: str) -> str:
        found = re.search(r"to start at \S+ (using .*)$", text, re.MULTILINE)
        return found.group(1).strip() if found else ""

    def cancel(self, job: str) -> list[str]:
        return ["scancel", job]

    def extend(self, job: str, minutes: int) -> list[str]:
        return ["scontrol", "update", f"JobId={job}", f"TimeLimit=+{minutes}"]

    def enter(self, job: str, node: str) -> list[str]:
        # Beside whatever runs there (--overlap), and without a share of its own.
        words = ["srun", f"--jobid={job}", "--overlap", "-N1", "-n1", "-u", "-Q", "-w", node]
        return [*words, "--mpi=none", "--mem=0", "--gres=none"]

    def other_gpus(self, jobs: Sequence[str]) -> list[str]:
        # "%b" is what was asked for by the machine (gres=, gpus-per-node=), and has no letter for
        # others. These names are no part of `look`: a Slurm that lacks one would show nothing.
        fields = ("JobID:20", *(f"tres-per-{what}:100" for what in ("job", "task", "socket")))
        return ["squeue", "-h", "-j", ",".join(jobs), "-O", ",".join(fields)]

    def gpus(self, text: str) -> dict[str, str]:
        rows = [line.split() for line in text.splitlines()]
        named = ((row[0], [word for word in row[1:] if "gpu" in word]) for row in rows if row)
        return {id: ", ".join(words) for id, words in named if words}

    def past(self, job: str) -> list[str]:
        return ["sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode,ReqMem"]

    def closer(self, job: Job) -> list[str]:
        return ["scontrol", "-o", "show", "job", job.id] if job.why in UNCLEAR else []

    def how_it_ended(self, text: str) -> str:
        shown = re.search(r"\bJobState=(\w+)", text)
        word = shown.group(1) if shown else re.split(r"[ +|\n]", text.strip(), maxsplit=1)[0]
        words = ENDED.get(word, "")
        if word == FAILED and re.search(r"(\bExitCode=|\|)\d+:9\b", text):
            # So it is where Slurm itself looks after the memory of jobs (OverMemoryKill).
            words = "its program was killed, perhaps for using more memory than it had asked for"
            word = OUT_OF_MEMORY
        memory = _asked_for(text) if word == OUT_OF_MEMORY else ""
        return f"{words}: {memory}" if memory else words

    def offers(self) -> list[str]:
        return ["sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G"]

    def refusal(self, status: int | None, said: str) -> Refusal | None:
        why = _own_words(said)
        if re.search(_OVER, said):
            return Refusal(errors.AllocationEnded, {"why": "Slurm does not know it any more"})
        for pattern, kind, advice, remote in _TABLE:
            if re.search(pattern, said):
                return Refusal(kind, {"why": why, "advice": advice, "remote": remote})
        if status == 127 or re.search(
            r"(?i)(squeue|sbatch|srun)\S*: .*(not found|No such file)", said
        ):
            return Refusal(errors.NoScheduler, {"why": why})
        return None


def explain(reason: str) -> tuple[str, bool]:
    """Why a job waits, in our words, and whether no waiting helps; `reason` is squeue's word."""
    word = re.split(r"[,( ]", reason.strip("()"), maxsplit=1)[0]
    if word in HOPELESS:
        return HOPELESS[word], True
    if word in REASONS:
        return REASONS[word], False
    if word.startswith(("QOS", "Assoc", "Max")):
        return "a limit of your account or QOS is reached", False
    return "", False


def _job(line: str) -> Job | None:
    parts = line.split("|", 8)
    if len(parts) != 9:
        return None
    id, state, reason, start, end, node, partition, gpus, name = parts
    if not re.fullmatch(r"\d{1,18}", id, re.ASCII):
        return None  # of an array
    phase, words = LIVING.get(state, (Phase.ENDED, ""))
    is_hopeless = False
    why = reason
    if phase is Phase.ENDED:
        why = ENDING.get(reason, state) if state == "COMPLETING" else state
        words = ENDED.get(why, "")
    elif state == "PENDING":
        words, is_hopeless = explain(reason)
    elif words:
        why = state
    has_node = re.fullmatch(r"[A-Za-z0-9][\w.-]*", node, re.ASCII) and node != "n/a"
    return Job(
        id,
        name,
        phase,
        why=why,
        words=words,
        is_hopeless=is_hopeless,
        is_ending=why == "COMPLETING",
        node=node if has_node else "",
        partition=partition,
        gpus="" if gpus in ("N/A", "(null)") else gpus,
        starts_at=_time(start),
        ends_at=_time(end),
    )


def _asked_for(text: str) -> str:
    """How much memory scontrol or sacct says that a job has asked for; empty where neither does.

    How much it used, sacct says too (MaxRSS), as seen each half minute: what has just been asked
    for and was the last straw is not in it.
    """
    shown = re.search(r"\bMinMemory(Node|CPU)=([1-9][\d.]*[KMGT]?)", text)
    if shown:
        return f"{shown.group(2)} a {'machine' if shown.group(1) == 'Node' else 'processor'}"
    # Before 21.08 the last letter says of what it is.
    shown = re.search(r"\|([1-9][\d.]*[KMGT]?)([nc]?)\s*$", text, re.MULTILINE)
    if not shown:
        return ""
    return shown.group(1) + {"n": " a machine", "c": " a processor"}.get(shown.group(2), "")


def _time(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{9,11}", text, re.ASCII) else None


def _own_words(said: str) -> str:
    """The scheduler's sentence, without what it puts before."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [re.sub(r"^\w+: (error|fatal): ", "", line) for line in lines if ": error:" in line]
    last = told[-1] if told else lines[-1] if lines else ""
    own = last.rpartition("failed: ")[2].rstrip(".") or "it did not say why"
    # What is before a limit's sentence is the limit's name, alone: "QOSMaxSubmitJobPerUserLimit".
    words = next((words for words in (explain(line)[0] for line in told[:-1]) if words), "")
    return f"{own}: {words}" if words else own
