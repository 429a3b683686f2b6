"""What an allocation is, and what is needed of a scheduler: five commands and what they print.

Pure. PBS and LSF would be other `Scheduler`s.
"""

from __future__ import annotations

import enum
import hashlib
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import errors

if TYPE_CHECKING:
    from ..ssh.command import Destination

#: How the names of jobs begin that are allocations of ours.
PREFIX = "sshpyk-"

#: What an allocation may be called: it is part of a job's name, and of messages.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

#: Names of schedulers' options.
OPTION = re.compile(r"[a-z][a-z0-9-]{0,40}")


class Phase(enum.Enum):
    """Where a job is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class Job:
    """A job as its scheduler tells of it. Times are in seconds since 1970, None where unknown.

    `why` is the scheduler's own word for the reason, or the state in which it ended; `words` are
    ours for it. One that `is_ending` is over for its processes, and the scheduler may not say yet
    why. `node` is where the holder runs, `starts_at` when it has begun or may begin.
    """

    id: str
    name: str
    phase: Phase
    why: str = ""
    words: str = ""
    is_hopeless: bool = False  # whether it will never start as it is
    is_ending: bool = False
    node: str = ""
    partition: str = ""
    gpus: str = ""
    starts_at: float | None = None
    ends_at: float | None = None

    @property
    def allocation(self) -> str:
        """The allocation's name; empty where the job is none of ours."""
        return self.name[len(PREFIX) :] if self.name.startswith(PREFIX) else ""


def default_name(text: str) -> str:
    """What an allocation with these options is called where nobody says: the same options have the
    same name, and others have another."""
    partition = re.search(r"(?:^|\s)(?:--)?partition=([A-Za-z0-9]{1,20})(?=\s|$)", text)
    digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:6]
    return f"{partition.group(1) if partition else 'default'}-{digest}"


def pick(jobs: Sequence[Job], name: str) -> Job | None:
    """The job that is the allocation `name` now: of several the first that was submitted."""
    own = [job for job in jobs if job.allocation == name and job.phase is not Phase.ENDED]
    return min(own, key=lambda job: int(job.id), default=None)


@dataclass(frozen=True)
class Allocation:
    """What leads to an allocation, and to the kernels in it: a destination, as a host is one.

    `options` are what it is asked for with, `name` is what it is called, `outer` the login node
    (None: this machine), `job` the very job, where that is known. What does not say where it is
    does not count when two are compared.
    """

    options: str
    name: str
    outer: Destination | None = None
    job: str = ""
    node: str = ""
    python: str = field(default="python3", compare=False)  # runs the holder
    idle: float = field(default=1800.0, compare=False)  # seconds without kernels until it ends

    @property
    def host(self) -> str:
        """What the place is called."""
        return f"slurm:{self.name}" + (f" on {self.outer.host}" if self.outer else "")

    @property
    def words(self) -> list[str]:
        """The options in words. Raises `SettingsError`."""
        return options(self.options)

    def check(self) -> None:
        """Raise a `SettingsError` where nothing could be started with this."""
        self.check_name()
        if self.outer is not None:
            self.outer.check()

    def check_name(self) -> None:
        """Raise a `SettingsError` where a name or an option can't be one."""
        if not NAME.fullmatch(self.name):
            raise errors.SettingsError(
                text=f"{self.name!r:.200} can't be an allocation's name: letters, digits, and "
                "_ . - between them."
            )
        for text, pattern in ((self.job, r"\d{1,18}"), (self.node, r"[A-Za-z0-9][\w.-]*")):
            if text and not re.fullmatch(pattern, text, re.ASCII):
                raise errors.SettingsError(text=f"{text!r:.200} is no job or machine of Slurm's.")
        _ = self.words
        if self.outer is not None:
            self.outer.check_name()

    def for_people(self, *more: str, program: str | None = "") -> str:
        """The command with which a person gets a shell where the allocation is asked for."""
        return "/bin/sh" if self.outer is None else self.outer.for_people()

    def for_connect(self) -> str:
        """The arguments of `sshpyk add` and `sshpyk doctor` for it."""
        words = "" if self.outer is None else self.outer.for_connect() + " "
        slurm = shlex.quote(self.options)
        return f"{words}--slurm {slurm} --allocation {shlex.quote(self.name)}"

    def for_allocations(self) -> str:
        """The arguments of `sshpyk allocations ACTION` for it."""
        host = "" if self.outer is None else f" --host {shlex.quote(self.outer.host)}"
        return f"{shlex.quote(self.name)}{host}"


#: Options that are ours to give, or would make another thing of the job than an allocation.
OURS = {
    *("job-name", "output", "error", "input", "open-mode", "parsable", "wrap", "array", "wait"),
    *("requeue", "no-requeue", "test-only", "export-file", "uid", "gid", "version", "help"),
    *(
        "usage",
        "quiet",
        "verbose",
        "chdir",
        "batch",
        "propagate",
        "get-user-env",
        "kill-on-invalid-dep",
    ),
}


def options(text: str) -> list[str]:
    """The words of `--slurm`, "partition=gpu time=4:00:00 exclusive", as options of the scheduler.

    Each is one option, whatever its value has in it: no shell reads it and none can be a word of
    another kind. Raises `SettingsError`.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise errors.SettingsError(text=f"--slurm {text!r:.200}: {error}.") from None
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.removeprefix("--")
        if not OPTION.fullmatch(name) or not value.isprintable() or (equals and not value):
            raise errors.SettingsError(
                text=f"--slurm: {word!r:.200} is no option.",
                advice="Write each as NAME=VALUE, by the long names of sbatch's options: "
                "partition=gpu gres=gpu:1 time=4:00:00.",
            )
        if name in OURS:
            raise errors.SettingsError(
                text=f"--slurm: the option {name} is not yours to give: sshpyk sets it, or it "
                "would make something else than an allocation."
            )
        found.append(f"--{name}" + (f"={value}" if equals else ""))
    return found


@dataclass(frozen=True)
class Refusal:
    """What a scheduler's words mean: a kind of `errors`, and its fields."""

    kind: type[errors.SshpykError]
    fields: dict[str, str]


class Scheduler(ABC):
    """The commands of one kind of scheduler, in words, and what they print."""

    name: str

    @property
    @abstractmethod
    def look(self) -> list[str]:
        """Shows all jobs of the user, those that have ended a moment ago included."""

    @abstractmethod
    def jobs(self, text: str) -> list[Job]:
        """The jobs that `look` has printed, ours and others."""

    @abstractmethod
    def submit(self, allocation: Allocation) -> list[str]:
        """Submits the script on its stdin as the allocation's job."""

    @abstractmethod
    def submitted(self, text: str) -> str | None:
        """The job's id, as `submit` has printed it."""

    @abstractmethod
    def try_out(self, allocation: Allocation) -> list[str]:
        """As `submit`, but only has the options checked."""

    @abstractmethod
    def tried(self, text: str) -> str:
        """What that has said, for people; empty where it has said nothing of use."""

    @abstractmethod
    def cancel(self, job: str) -> list[str]:
        """Cancels a job, or ends one that runs."""

    @abstractmethod
    def extend(self, job: str, minutes: int) -> list[str]:
        """Lets a job run so many minutes longer."""

    @abstractmethod
    def enter(self, job: str, node: str) -> list[str]:
        """Runs the words behind it in the job, on the machine `node` of it, with pipes."""

    @abstractmethod
    def other_gpus(self, jobs: Sequence[str]) -> list[str]:
        """Shows those GPUs of jobs that `look` does not, for the way they were asked for."""

    @abstractmethod
    def gpus(self, text: str) -> dict[str, str]:
        """What that has printed, by the jobs' ids."""

    @abstractmethod
    def past(self, job: str) -> list[str]:
        """Shows how a job ended that `look` does not show any more."""

    @abstractmethod
    def closer(self, job: Job) -> list[str]:
        """Shows more of how a job ended that `look` still shows; empty where that says it all."""

    @abstractmethod
    def how_it_ended(self, text: str) -> str:
        """What `past` or `closer` has printed, in our words; empty where that tells nothing."""

    @abstractmethod
    def offers(self) -> list[str]:
        """Shows what may be asked for, for people."""

    @abstractmethod
    def refusal(self, status: int | None, said: str) -> Refusal | None:
        """What the words mean that a command of the scheduler's has failed with; None where they
        are unknown."""
