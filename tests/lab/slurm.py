"""A real Slurm for tests: slurmctld, two slurmd and munge here, in private directories."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.jobgroups import JobGroups
from tests.lab.sshd import Sshd

#: Where Debian has the daemons, which are seldom on a user's PATH.
_DAEMONS = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"

#: Seconds for the daemons to answer, and for one to end.
READY_WITHIN = 30.0
END_WITHIN = 10.0

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CryptoType=crypto/munge
{memory}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2
ReturnToService=2
MpiDefault=none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
KillWait=15
MinJobAge=300
InactiveLimit=0
SlurmdTimeout=6
SlurmctldTimeout=6
MessageTimeout=10
EnforcePartLimits=ALL
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
NodeName=DEFAULT CPUs=32 RealMemory=40000 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2}
PartitionName=DEFAULT MaxTime=60 DefaultTime=10 DefMemPerNode=10000 State=UP PreemptMode=OFF
PartitionName=main Nodes=n1,n2 Default=YES
PartitionName=one Nodes=n1
PartitionName=theirs Nodes=n1 AllowAccounts=physics
PartitionName=small Nodes=n1 MaxMemPerNode=1000
PartitionName=away Nodes=n2 State=DOWN
PartitionName=scavenge Nodes=n2 PriorityTier=0 PreemptMode=CANCEL
PartitionName=gpu Nodes=n1 MaxTime=720
PartitionName=cpu Nodes=n1,n2 MaxTime=720
PartitionName=urgent Nodes=n2 PriorityTier=9
"""

#: How a Slurm sees to it that no job uses more memory than it has asked for. By cgroups, as most
#: do: Linux then kills the largest process of a job. By looking at the processes now and then, it
#: kills the job. It refuses to do both.
BY_CGROUPS = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/none"""
BY_LOOKING = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill"""
NOT_AT_ALL = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none"""


def trouble() -> str | None:
    """Why there can be no Slurm here, for a skipped test to say; None when there can."""
    for program in ("slurmctld", "slurmd", "munged", "sbatch"):
        if shutil.which(program, path=_DAEMONS) is None:
            return f"there is no {program} here (apt-get install slurm-wlm munge)"
    return None if os.getuid() == 0 else "slurmd runs as root only"


class Slurm:
    """A running Slurm until `close`, whose nodes n1 and n2 have 32 processors, as it believes;
    n1 has two GPUs, which compute nothing.

    Partitions: main (both, the default), one (n1), gpu (n1) and cpu (both) for a longer time,
    theirs (for an account that is nobody's), small (of memory), away (down), scavenge (n2, whose
    jobs go for those of urgent). `environment` is what its clients need, `log` has the commands
    that were called through `bin`, one a line. `has_cgroups` is whether its jobs are in cgroups:
    where this user may make some, unless it is `looking` after their memory itself.
    """

    def __init__(self, *, looking: bool = False) -> None:
        if reason := trouble():
            raise RuntimeError(reason)
        self._temporary = tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")
        self.directory = Path(self._temporary.name)
        self.directory.chmod(0o755)
        self.config = self.directory / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.config)}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._groups = JobGroups(self.directory.name, self.directory / "cgroup")
        self.has_cgroups = self._groups.are_there and not looking
        (self.directory / "cgroup.conf").write_text(self._groups.config)
        for number, device in enumerate(("/dev/null", "/dev/zero")):
            (self.directory / f"gpu{number}").symlink_to(device)
        (self.directory / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=n1 Name=gpu File={self.directory}/gpu[0-1]\n"
        )
        limits = BY_LOOKING if looking else BY_CGROUPS if self.has_cgroups else NOT_AT_ALL
        ctld, n1, n2 = _free_ports(3)
        self.config.write_text(
            CONFIG.format(
                directory=self.directory,
                memory=limits,
                host=socket.gethostname().partition(".")[0],
                ctld=ctld,
                n1=n1,
                n2=n2,
            )
        )
        (self.directory / "state").mkdir()
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.bin = self.directory / "bin"
        self.log = self.directory / "calls"
        names = ("squeue", "sbatch", "srun", "scancel", "scontrol", "sinfo")
        self._programs = {name: shutil.which(name) or name for name in names}
        self._wrap()
        try:
            self.start("munge")
            self.start("slurmctld")
            self.start("n1")
            self.start("n2")
            self._wait_ready()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Slurm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self, name: str) -> None:
        """Start a daemon: munge, slurmctld, n1 or n2."""
        place = self.directory
        argv = {
            "munge": [
                "munged",
                "--foreground",
                "--force",
                f"--socket={place}/munge.socket",
                f"--key-file={place}/munge.key",
                f"--pid-file={place}/munge.pid",
                f"--seed-file={place}/munge.seed",
                f"--log-file={place}/munge.log",
                "--num-threads=2",
            ],
            "slurmctld": ["slurmctld", "-D", "-f", str(self.config)],
        }.get(name, ["slurmd", "-D", "-N", name, "-f", str(self.config)])
        program = shutil.which(argv[0], path=_DAEMONS)
        assert program is not None
        with open(place / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                [program, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        if name == "munge":
            _until(lambda: (place / "munge.socket").exists(), "munged")

    def end(self, name: str, signum: int = signal.SIGTERM) -> None:
        """End a daemon; jobs on a node go on."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(signum)
        try:
            daemon.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(END_WITHIN)

    def run(self, *argv: str, check: bool = True) -> str:
        """What a client program of Slurm's prints; its calls are not in `log`."""
        done = subprocess.run(
            [self._programs[argv[0]], *argv[1:]],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(argv)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """The jobs that wait or run: their states, by id."""
        return {id: state for id, state in self._all().items() if state != "COMPLETING"}

    def _all(self) -> dict[str, str]:
        lines = self.run("squeue", "-h", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def calls(self, program: str) -> int:
        """How often a program was called through `bin`."""
        if not self.log.exists():
            return 0
        return sum(line.split()[0] == program for line in self.log.read_text().splitlines())

    def cancel_all(self) -> None:
        """End all jobs, and wait until no process of theirs is there."""
        jobs = self._all()
        if jobs:
            self.run("scancel", *jobs, check=False)
            _until(lambda: not self._all(), "the end of all jobs")
        self.log.unlink(missing_ok=True)

    def until_running(self, job: str) -> None:
        """Wait until a job runs."""
        _until(lambda: self.jobs().get(job) == "RUNNING", f"the start of job {job}")

    def until_gone(self, job: str) -> None:
        """Wait until a job is over, and nothing of it runs."""
        _until(lambda: job not in self._all(), f"the end of job {job}")

    def close(self) -> None:
        """End it, and what runs in it."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(Exception):
                self.cancel_all()
        for name in list(self.daemons):
            self.end(name)
        for pid in self.processes():  # steps of a node that was down
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._groups.close()
        self._temporary.cleanup()

    def processes(self) -> list[int]:
        """The processes that have our configuration in their environment, as no others have."""
        mine = f"SLURM_CONF={self.config}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mine in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def _wrap(self) -> None:
        """Put programs into `bin` that note each call."""
        self.bin.mkdir()
        for name, real in self._programs.items():
            script = self.bin / name
            script.write_text(
                f'#!/bin/sh\necho "{name} $*" >>{self.log}\n'
                f'export SLURM_CONF={self.config}\nexec {real} "$@"\n'
            )
            script.chmod(0o755)

    def _wait_ready(self) -> None:
        def is_ready() -> bool:
            states = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T", check=False)
            return states.split().count("idle") == 2

        try:
            _until(is_ready, "Slurm")
        except RuntimeError as error:
            said = "".join(
                f"{path.name}:\n{path.read_text('utf-8', 'replace')[-1500:]}\n"
                for path in sorted((*self.directory.glob("*.log"), *self.directory.glob("*.out")))
            )
            raise RuntimeError(f"{error}\n{said}") from None


def login_node(
    slurm: Slurm,
    home: Path,
    *,
    host: str = "login",
    forwards: bool = False,
    environment: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Sshd:
    """A server called `host` whose sessions have Slurm's commands; one that `forwards`, or does
    not."""
    own = {"PATH": f"{slurm.bin}:{os.environ['PATH']}", **(environment or {})}
    options = () if forwards else ("DisableForwarding yes",)
    return Sshd(options=options, home=home, environment=own, host=host, **kwargs)


def _until(is_so: object, what: str) -> None:
    assert callable(is_so)
    end = time.monotonic() + READY_WITHIN
    while not is_so():  # nothing tells of it
        if time.monotonic() > end:
            raise RuntimeError(f"{what} was not there within {READY_WITHIN:g} s")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [sock.getsockname()[1] for sock in sockets]
