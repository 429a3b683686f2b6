"""The types of what travels as JSON between a client and the jobs and agents on a host.

They are for the type checker alone: nothing is left of them when the program runs, on the host
least of all. What a host answers is checked on arrival (`sshpyk.transport.answers`), and so are
control messages (`control`). A request needs no check: the jobs that read it travel with it, from
the same version of the same program.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Literal, Optional, TypedDict, Union

    class Keys(TypedDict, total=False):
        """A kernel's keys, as in its connection file; those of CURVE where it speaks that."""

        key: str
        signature_scheme: str
        curve_publickey: str
        curve_secretkey: str

    class Kind(TypedDict, total=False):
        """What is to run, where that is no kernel."""

        is_kernel: bool  # False: a program without the five sockets

    class KernelRequest(Keys, Kind):
        """How to start a kernel (`sshpyk.agent.kernel.Plan`)."""

        kernel_name: str
        spec: Optional[Dict[str, Any]]  # a kernel.json of this machine's; None: find it there
        env: Dict[str, str]  # templates: $NAME is the host's
        literal_env: Dict[str, str]
        local_env: Dict[str, str]  # for templates whose $NAME the host does not know
        cwd: List[str]  # the best first; relative ones are relative to home
        remote_cwd: str
        setup: List[str]
        login_shell: bool
        extra_arguments: List[str]
        pythonhome: Optional[str]
        fork_server: bool

    class AttachedRequest(KernelRequest):
        """A kernel that is there and not ours (`sshpyk.agent.attached`); the rest is of no use."""

        connection_file: str
        display_name: str
        language: str

    class LaunchRequest(TypedDict):
        """The job "launch"."""

        do: Literal["launch"]
        id: str
        token: str
        streams: str  # "unix" or "tcp": what the agent listens on
        session: str  # the name of a session; empty: none
        persistent: bool
        lease: float  # seconds
        launch_timeout: float  # seconds
        carrier: str  # what comes first on a carrier by this session, packed; empty: it is none
        memory_limit: int  # bytes, as the next two
        spool_limit: int
        outputs_limit: int
        kernel: KernelRequest

    class ProbeRequest(TypedDict):
        """The job "probe": what became of the agent `id`?"""

        do: Literal["probe"]
        id: str
        place: str  # the container in which it was, where this one has its name; empty: unknown

    class KernelsRequest(TypedDict):
        """The job "kernels": all that run there, and what they use where that is asked for."""

        do: Literal["kernels"]
        use: bool

    class WatchRequest(TypedDict):
        """The job "watch": the same again and again."""

        do: Literal["watch"]
        every: float  # seconds

    class KernelJobRequest(TypedDict):
        """The jobs for one kernel."""

        do: Literal["attach", "stop", "interrupt"]
        id: str

    class LogsRequest(TypedDict):
        """The job "logs"."""

        do: Literal["logs"]
        id: str
        files: List[str]
        follow: bool

    class InspectRequest(TypedDict):
        """The job "inspect"."""

        do: Literal["inspect"]
        names: List[str]
        setup: List[str]
        login_shell: bool
        environments: bool
        pythons: List[str]

    class InstallRequest(TypedDict):
        """The job "install"."""

        do: Literal["install"]
        python: str

    class ResolveRequest(TypedDict):
        """The job "resolve": is `path`, as a kernel in `cwd` would mean it, there?"""

        do: Literal["resolve"]
        cwd: str
        path: str

    class MeasureRequest(TypedDict):
        """The job "measure"."""

        do: Literal["measure"]
        token: str

    class ServersRequest(TypedDict):
        """The job "servers": the Jupyter Servers there, and what could start one."""

        do: Literal["servers"]
        pid: int  # of one that is waited for; 0: none
        wanted: str  # a directory; empty: home
        python: str

    class RelayRequest(TypedDict):
        """The job "relay"."""

        do: Literal["relay"]
        is_watched: bool  # whether the program's end is for whoever runs it to see to

    class PutRequest(TypedDict):
        """The job "put": files for the host, an archive of which follows (`sshpyk.agent.put`)."""

        do: Literal["put"]
        path: str
        files: List[List[Any]]

    class RunRequest(TypedDict):
        """The job "run": run cells of a notebook in a kernel (`sshpyk.agent.run`)."""

        do: Literal["run"]
        id: str  # the kernel's
        run: str  # the run's id, new
        name: str  # the notebook's, for people
        notebook: Dict[str, Any]  # nbformat 4
        cells: List[int]  # which of its cells, by their place, from 0
        allowed: List[int]  # those of them that may raise
        ends: bool  # whether the kernel is to end after it

    class RunsRequest(TypedDict):
        """The job "runs"."""

        do: Literal["runs"]

    class JournalRequest(TypedDict):
        """The job "journal": what a run has written, from a byte on."""

        do: Literal["journal"]
        run: str
        offset: int
        follow: bool

    class ForgetRequest(TypedDict):
        """The job "forget": what a run has written is not needed any more."""

        do: Literal["forget"]
        run: str

    Request = Union[
        LaunchRequest,
        ProbeRequest,
        KernelsRequest,
        WatchRequest,
        KernelJobRequest,
        LogsRequest,
        InspectRequest,
        InstallRequest,
        ResolveRequest,
        MeasureRequest,
        ServersRequest,
        RelayRequest,
        PutRequest,
        RunRequest,
        RunsRequest,
        JournalRequest,
        ForgetRequest,
    ]

    class ExitStatus(TypedDict):
        """How a kernel's process ended: `code` or `signum`, neither where nobody saw."""

        pid: int
        code: Optional[int]
        signum: Optional[int]
        stderr: str  # its last lines
        note: str  # what the agent knows of the reason

    class Exit(ExitStatus, total=False):
        """All that is known of it."""

        peak: Optional[int]  # the most memory that its process used, in bytes
        cause: Optional[Dict[str, Any]]  # what the host knows of the reason: `exits.CAUSE`

    class MemoryShort(TypedDict):
        """The memory that a kernel may use is almost full; in bytes."""

        used: int
        limit: int
        machine: bool  # whether that is all that the machine has, rather than a share

    class Abilities(TypedDict, total=False):
        """What an agent can do that those of older versions can't."""

        ports: bool  # lead to ports of the host
        memory: bool  # tell when that is almost full

    class KernelFacts(Abilities):
        """What an agent says of its kernel."""

        pid: int
        bound: bool  # whether its five sockets are there
        exited: Optional[Exit]
        name: str
        display_name: str
        language: str
        interrupt_mode: str
        cwd: str
        home: str
        curve: bool
