"""What can go wrong, by the question a caller would ask: my mistake, the host, what is on it?

Every error is made from fields and says what happened, then what to do, then, on a line of its own,
the command that helps, then what the other side said. That text *is* what JupyterLab shows when a
kernel does not start, in a dialog that cuts off what is beyond column 80.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from .layout import hold, let_go, printable, wrap
from .wire import exits

#: Fields that name one thing, such as a path: no line ends within them.
NAMES = frozenset(
    (
        "host",
        "path",
        "python",
        "program",
        "ssh",
        "name",
        "kernel",
        "card",
        "node",
        "id",
        "version",
        "reason",
        "local",
        "port",
    )
)


class SshpykError(Exception):
    """The root.

    Its fields are what a subclass's templates show. Of its own it has four: `advice` and
    `command`, for a subclass without templates for these, `details`, what the other side said, and
    `card`, the name of the kernelspec here whose settings this is about.
    """

    #: Stable, for programs: the class's name in kebab case.
    code: ClassVar[str]

    #: What happened.
    sentence: ClassVar[str] = "{text}"

    #: What to do about it; where a command follows, a sentence that leads to it.
    next_step: ClassVar[str] = "{advice}"

    #: The command that helps, for a terminal here; where there are several, one a line.
    next_command: ClassVar[str] = "{command}"

    #: A command that helps on the host, which is put behind the field `command`, an ssh that gets
    #: there. It goes first.
    remote_command: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = _kebab(cls.__name__)

    def __init__(self, **fields: object) -> None:
        super().__init__(fields)
        unsaid = {"advice": "", "command": "", "details": "", "card": "NAME"}
        self.fields: dict[str, object] = {**unsaid, **fields}

    @property
    def what(self) -> str:
        """What happened: a sentence."""
        return let_go(self._filled(self.sentence)).strip()

    @property
    def advice(self) -> str:
        """What to do about it, or nothing."""
        return let_go(self._filled(self.next_step)).strip()

    @property
    def command(self) -> str:
        """The command that helps, or nothing; where there are several, one a line."""
        lines = []
        # What a host chose is one word of the command, and has no line of its own.
        words = {
            name: shell_word(let_go(hold(str(value)))) if name in NAMES else value
            for name, value in self.fields.items()
        }
        remote = self.remote_command.format_map(words)
        if remote:
            ssh = str(self.fields["command"]) or f"ssh {words['host']}"
            lines.append(on_host(ssh, remote))
        lines.append(self.next_command.format_map(words))
        return printable("\n".join(filter(None, lines)))

    @property
    def details(self) -> str:
        """What the other side said, or nothing; any number of lines."""
        return printable(str(self.fields["details"] or "")).strip()

    @property
    def line(self) -> str:
        """All but the details, in one line however long: for lists and logs."""
        parts = (self.what, self.advice, self.command.replace("\n", "; "))
        return " ".join(filter(None, parts))

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {
            "code": self.code,
            "what": self.what,
            "advice": self.advice,
            "command": self.command,
            "details": self.details,
        }

    def __str__(self) -> str:
        told = wrap(f"{self._filled(self.sentence)} {self._filled(self.next_step)}")
        command = "\n".join(f"    {line}" for line in self.command.splitlines())
        return "\n".join(filter(None, (told, command, self.details)))

    def _filled(self, template: str) -> str:
        fields = {
            name: hold(value) if name in NAMES and isinstance(value, str) else value
            for name, value in self.fields.items()
        }
        return printable(template.format_map(fields))


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


SshpykError.code = _kebab(SshpykError.__name__)


def shell_word(text: str) -> str:
    """`text` as one word for a shell, in which ~/ still means the home directory."""
    if text.startswith("~/"):
        return "~/" + (shlex.quote(text[2:]) if text[2:] else "")
    return shlex.quote(text)


def on_host(command: str, remote: str) -> str:
    """The command, for a terminal here, that runs `remote` on the host that `command` gets to.

    `command` is an ssh, or ends with /bin/sh, here or as the last word of an ssh; /bin/sh alone is
    this machine.
    """
    if command == "/bin/sh":
        return remote
    if command.endswith(" /bin/sh"):
        # `:` for commands that join their words, so that the other side's shell sees only `;`.
        return f"{command} -c {shlex.quote(':;' + remote)}"
    if command.endswith(" /bin/sh'"):
        *front, last = shlex.split(command)
        return shlex.join([*front, on_host(last, remote)])
    if "'" in remote and not set(remote) & set('"$`\\!'):
        return f'{command} "{remote}"'  # the same to every shell, and easier to read
    return f"{command} {shlex.quote(remote)}"


class SettingsError(SshpykError):
    """The caller's mistake: a setting that can't be."""


class NoSsh(SettingsError):
    sentence = "The ssh program {ssh} is not there."
    next_step = "Install an OpenSSH client, or set `ssh` to its path."


class NoSshConfig(SettingsError):
    sentence = "The ssh configuration {path} is not there."
    next_step = "Create it, or set `ssh_config` to another:"
    next_command = "sshpyk edit {card} --ssh-config PATH"


class SlowSshConfig(SettingsError):
    sentence = "ssh has not said within {seconds:g} s what its configuration has for {host}."
    next_step = "See what it waits for (a `Match exec`, a file on a slow disk):"


class NoHost(SettingsError):
    sentence = "No host is set for this kernel."
    next_step = "Set `ssh_host_alias`, or add a kernel that has one:"
    next_command = "sshpyk add HOST"


class NoSuchCommand(SettingsError):
    """What should lead to a place can't be run."""

    sentence = "The command {program}, which leads to {host}, is not there."
    next_step = "Install it, or set another command (`via`; `inside` where a host runs it):"
    next_command = "sshpyk edit NAME --via COMMAND"


class NoSuchKernel(SettingsError):
    sentence = "There is no kernel {name} on this machine; those of sshpyk are: {names}."
    next_step = "See all with:"
    next_command = "sshpyk list"


class Ambiguous(SettingsError):
    sentence = "{name!r} names {count} of the kernels on {host}, and should name one."
    next_step = "Name it by its environment or the path of its Python."


class NotOurs(SettingsError):
    sentence = "The kernel {name} is not one of sshpyk's ({path})."


class KernelExists(SettingsError):
    sentence = "There is a kernel {name} already ({path})."
    next_step = "Choose another --kernel-name, or say --replace."


class Unreadable(SettingsError):
    sentence = "{path} can't be read: {reason}."
    next_step = "Mend that file, or name another."


class Unwritable(SettingsError):
    sentence = "{path} can't be written: {reason}."
    next_step = "Make it writable, or name another."


class NotSaved(SshpykError):
    sentence = "{path} can't be written: {reason}. What the run has brought is kept on {host}."
    next_step = "Make room, then:"
    next_command = "sshpyk collect {id} {path}"


class CodeRaised(SshpykError):
    """`text` is the name of what the code raised, and its words; `details` the traceback."""

    sentence = "The code raised {text}"
    next_step = ""


class PortInUse(SettingsError):
    sentence = "{local} can't be opened on this machine: {reason}."
    next_step = "Another is free: --local {free}"


class NoLocalSocket(SettingsError):
    sentence = "{local} can't be opened on this machine: {reason}."
    next_step = "Give another --local: a port, or a path at which nothing is."


# -- the host and the way to it --------------------------------------------------------------------


class HostError(SshpykError):
    """The host can't be reached or won't let us in.

    `details` is what ssh said, `command` the ssh with which a person tries it.
    """

    sentence = "ssh could not connect to {host}."
    next_step = "Try it in a terminal:"


class UnknownHost(HostError):
    sentence = "The host {host} is unknown: its name can't be resolved."
    next_step = "Check the name, or its HostName in your ssh configuration. Try:"


class ConnectionRefused(HostError):
    sentence = "{host} refused the connection."
    next_step = "Check that an ssh server runs there, and the port. Try:"


class Unreachable(HostError):
    sentence = "{host} does not answer."
    next_step = "Check the network, a VPN, or the host itself. Try:"


class NeedsPerson(HostError):
    """ssh wants something that only a person can give; `sshpyk connect` lets one."""


class AuthenticationFailed(NeedsPerson):
    sentence = "{host} accepted no key of yours, and a kernel's start can't ask for a password."
    next_step = (
        "Log in once in a terminal (the first command), or set up a key (the second). "
        "Then start the kernel again."
    )
    next_command = "sshpyk connect {connect}\nssh-copy-id {copy}"


class LoginRefused(AuthenticationFailed):
    """The same where paramiko logs in: no connection outlives a process, so that a person can't
    log in for kernels, but leave a password for them."""

    sentence = "{host} let us in by none of the keys and passwords that there are."
    next_step = (
        "Keep a password, or a key's passphrase, in the keyring (the command), or set up a key. "
        "Then start the kernel again."
    )
    next_command = "sshpyk connect --keyring {connect}"


class HostKeyUnknown(NeedsPerson):
    sentence = "{host} is not among the hosts you know: its key was never confirmed."
    next_step = "Connect once in a terminal and compare the fingerprint that it shows:"
    next_command = "{ask}"


class HostKeyChanged(NeedsPerson):
    sentence = (
        "The key of {host} is not the one you know: someone may be in between, "
        "or the host was installed anew."
    )
    next_step = (
        "Ask its administrator. If the new key is right, remove the old one as ssh says below, and "
        "connect once in a terminal:"
    )
    next_command = "{ask}"


class NotLetIn(HostError):
    sentence = "ssh could not log in to {host}; its own messages above say why."
    next_step = "Check the whole way with:"
    next_command = "sshpyk doctor {connect}"


class LoginNotFinished(HostError):
    sentence = "The login to {host} was not finished."
    next_step = "Begin it again when you like."


class ConnectionLost(HostError):
    sentence = "The connection to {host} was lost while the kernel was being started."
    next_step = "Start it again."


class NoRoom(HostError):
    sentence = "{host} runs no further program through the connection that there is."
    next_step = "Its administrator can raise MaxSessions; else end some of what runs there."


class LaunchTimeout(HostError):
    sentence = "The kernel on {host} was not ready within {seconds:g} s ({stage})."
    next_step = "Try the connection (the first command), or give it more time (the second)."
    next_command = "{command}\nsshpyk edit {card} --launch-timeout SECONDS"


class ShellWaits(LaunchTimeout):
    """The job's session is there, and nothing of ours has answered through it."""

    sentence = "{host} let us in, but {python} has said nothing there within {seconds:g} s."
    next_step = (
        "See whether a start-up file of the shell there waits for a person (a question, a menu, "
        "tmux), by the first command; if it is only slow, give it more time by the second."
    )
    next_command = "sshpyk edit {card} --launch-timeout SECONDS"
    remote_command = "{python} -V"


class NoForwarding(HostError):
    sentence = "The ssh server of {host} does not allow forwarding, nor a session in its place."
    next_step = "Ask its administrator for `AllowTcpForwarding yes`, or `MaxSessions 10`."
    next_command = ""


class EndedAtOnce(HostError):
    """For a place that a command leads to, as the next ones are; `command` gets a shell there."""

    sentence = "The command that leads to {host} ended at once (exit status {status})."
    next_step = "Below is what it said, if it said anything. Try it in a terminal:"


class NotRunning(HostError):
    sentence = "{host} does not run."
    next_step = "Start it, and then the kernel: what ran in it has ended with it."
    next_command = "{start}"


class NoSuchPlace(HostError):
    sentence = "There is no {host}."
    next_step = "If it was removed, so were the kernels in it. See what there is:"
    next_command = "{show}"


class SchedulerError(HostError):
    """The scheduler of a cluster did not do what it was asked for.

    `why` is what it said, `advice` and `remote` what to do about it, the latter a command for the
    host; `command` gets a shell there.
    """

    sentence = "{scheduler} on {host} did not do what it was asked for ({program}): {why}."
    next_command = ""
    remote_command = "{remote}"


class SchedulerFailed(SchedulerError):
    next_step = "Below is what it said. Try it there, in a terminal."
    remote_command = ""


class SchedulerStrange(SchedulerError):
    sentence = "{scheduler} on {host} took the job, and named no number for it."
    next_step = "See whether it is there (squeue --me), and cancel it. Below is what it said."
    remote_command = ""


class SchedulerDown(SchedulerError):
    sentence = "{scheduler} on {host} does not answer: {why}."
    next_step = "{advice}"


class SchedulerTooOld(SchedulerError):
    sentence = "{scheduler} on {host} is too old: its srun has no --overlap (that came in 20.11)."
    next_step = (
        "Ask its administrator; or start a job yourself, and add its machine as a host, if yours "
        "lets you in by ssh:"
    )
    remote_command = ""
    next_command = "sshpyk add NODE"


class NoScheduler(SchedulerError):
    sentence = "There is no {scheduler} on {host}: {program} was not found."
    next_step = (
        "If it is elsewhere there, have the shell's start-up file add it to PATH, also where there "
        "is no terminal (~/.bashrc, before it looks for one)."
    )
    remote_command = ""


class JobRefused(SchedulerError):
    """Nothing was left behind."""

    sentence = "{scheduler} on {host} refused the job: {why}."
    next_step = "{advice}"


class NeverStarts(HostError):
    """It was taken back."""

    sentence = "The allocation {name} (job {job} on {host}) would never start: {why}. "
    next_step = "It was cancelled. Ask for something else:"
    next_command = "sshpyk edit {card} --slurm OPTIONS"


class StillQueued(HostError):
    """It stays in the queue."""

    sentence = "The allocation {name} (job {job} on {host}) is queued: {reason}. {expected}."
    next_step = "It stays queued: start the kernel again then. To give it up:"
    next_command = "sshpyk allocations cancel {allocation}"


class NoAllocation(HostError):
    """For those who must not ask for one."""

    sentence = "The allocation {name} on {host} is not there any more."
    next_step = "Restart the kernel, or start it anew: that asks for a new one."
    next_command = ""


class NoHolder(HostError):
    sentence = "The allocation {name} (job {job}) runs, and sshpyk's program in it does not answer."
    next_step = (
        "Its machines need a Python 3.8 or later (`remote_python`) and your home directory. Cancel "
        "it, and start the kernel again:"
    )
    next_command = "sshpyk allocations cancel {name}"


class NotLoggedIn(NeedsPerson):
    sentence = "The command that leads to {host} asks for a password or a login."
    next_step = (
        "Nobody can type it there. Log in as it says below, or have it ask for nothing (sudo: "
        "NOPASSWD). This must open a shell without a question:"
    )


class ThroughTerminal(HostError):
    sentence = "The way to {host} leads through a terminal, which changes what passes through it."
    next_step = "Leave out what asks for one: without -t, with -i (docker, podman, kubectl)."
    next_command = ""


class NoInput(HostError):
    sentence = "The command that leads to {host} passes no input on."
    next_step = "Give it the option that does: with -i, without -t (docker, podman, kubectl)."
    next_command = ""


class OtherPlace(HostError):
    sentence = "{host} leads to another machine now; the kernel runs on {node}."
    next_step = "Have it lead there again; the kernel is found by itself then. Try:"


# -- what is on the host ---------------------------------------------------------------------------


class RemoteError(SshpykError):
    """The host was reached, and something there is not as it must be.

    `command` is the ssh with which a person gets there.
    """

    next_command = ""


class PythonMissing(RemoteError):
    sentence = "{host} has no {python} that can be run."
    next_step = "Look for one (the first command may find it), and set it (the second)."
    remote_command = "sh -lc 'command -v python3'"
    next_command = "sshpyk edit {card} --remote-python PATH"


class NoShell(RemoteError):
    sentence = "{host} has no program sh, with which kernels are started."
    next_step = "Use a container that has one, and Python 3.8 or later."


class PythonTooOld(RemoteError):
    sentence = "{python} on {host} is Python {version}; sshpyk needs 3.8 or later there."
    next_step = "Set `remote_python` to a later one:"
    next_command = "sshpyk edit {card} --remote-python PATH"


class StrangeAnswer(RemoteError):
    sentence = "{python} did not start on {host} as expected."
    next_step = (
        "Often a start-up file of the shell there is in the way: it must not read its input, exit, "
        "or start another shell. This should print a version and end:"
    )
    remote_command = "{python} -V"


class NoCommands(StrangeAnswer):
    sentence = "The account on {host} may run no commands: it is for file transfer, or locked."
    next_step = "Use one with a shell, or ask its administrator. This should say that it runs:"
    remote_command = "echo it runs"


class CommandSplit(StrangeAnswer):
    sentence = (
        "A forced command on {host} takes apart what it is asked to run, which a shell should "
        "read once."
    )
    next_step = (
        "Have ForceCommand (sshd_config) or command= (authorized_keys) there end with: "
        "what stands below."
    )
    next_command = 'sh -c "$SSH_ORIGINAL_COMMAND"'


class InputTaken(StrangeAnswer):
    sentence = "Something on {host} read the input that was for {python}."
    next_step = (
        "Look for it: a start-up file of the shell there may be in the way, which should read "
        "nothing and start no other shell unless it has a terminal (`[ -t 0 ]`); or a forced "
        "command is a shell, and should end with what stands below."
    )
    next_command = 'sh -c "$SSH_ORIGINAL_COMMAND"'


class WantsTerminal(StrangeAnswer):
    sentence = "What {host} starts at a login wants a terminal, and {python} was not started."
    next_step = (
        "Have the shell's start-up file there start it (tmux, screen, a menu) only where there is "
        "a terminal (`[ -t 0 ]`); or use an account with a plain login shell."
    )
    next_command = ""


class EndedSilently(StrangeAnswer):
    sentence = "{host} ended the session without a word (exit status {status})."
    next_step = (
        "The login shell may be /bin/false, a start-up file may exit, or a forced command may not "
        "run what it is asked to. See whether it runs commands:"
    )
    remote_command = "echo it runs"


class EndlessNoise(StrangeAnswer):
    sentence = "The shell on {host} prints without end, and {python} was not started."
    next_step = (
        "Have its start-up files print only where there is a terminal (`[ -t 1 ]`). "
        "This should print a version and end:"
    )
    remote_command = "{python} -V"


class NoKernelspec(RemoteError):
    sentence = "There is no kernelspec {name} on {host}; there are: {names}."
    next_step = "Set `remote_kernel_name` to one of them:"
    next_command = "sshpyk edit {card} --remote-kernel-name KERNELSPEC"


class NoKernelspecs(RemoteError):
    sentence = "There is no kernelspec {name} on {host}, nor any other that {python} could find."
    next_step = (
        "Set `remote_python` to the Python of an environment that has a kernel, or install one:"
    )
    remote_command = "{python} -m pip install ipykernel"


class ProgramMissing(RemoteError, FileNotFoundError):
    """A local kernel's start raises FileNotFoundError for it, and callers may expect that."""

    sentence = "The kernelspec {kernel} on {host} starts {program}, which can't be run: {reason}."
    next_step = "Install the kernel again there, or choose another `remote_kernel_name`."


class NotWritable(RemoteError):
    sentence = "{host}: {path} can't be written: {reason}."
    next_step = (
        "Make room there or correct its permissions, or have your shell's start-up file there set "
        "XDG_STATE_HOME to a directory that can be written."
    )


class NoResources(RemoteError):
    sentence = "{host} would not start one more process for you: {reason}."
    next_step = "See what runs there and what the limits are:"
    remote_command = "ps x; ulimit -a"


class NotPrivate(RemoteError):
    sentence = "{host}: {path} is not a directory of yours alone (its owner is user {owner})."
    next_step = "Move it away:"
    remote_command = "mv {path} {path}.old"


class NoDirectory(RemoteError):
    sentence = "{host}: {path} is not a directory that can be entered."
    next_step = "Create it, or set `remote_cwd` to another:"
    next_command = "sshpyk edit {card} --cwd PATH"


class NotAttachable(RemoteError):
    sentence = "The connection file {path} can't be used on {host}: {reason}."
    next_step = "Whether the kernel runs on the same machine is for its server to say."


class NoCurve(RemoteError):
    sentence = (
        "transport_encryption is required, but the kernelspec {name} on {host} does not declare it."
    )
    next_step = "Use a kernel that does (ipykernel 7.3 or later), or set it to auto."


class KernelDied(RemoteError):
    """`details` ends with the kernel's own last lines."""

    sentence = "The kernel {name} on {host} ended while it started ({how})."
    next_command = "{command}"


class KernelGone(RemoteError):
    sentence = "The kernel on {host} is gone: {why}."
    next_step = "Start a new one."


class AllocationEnded(RemoteError):
    sentence = "The allocation {name} (job {job}) has ended: {why}."
    next_step = "Start the kernel again, and another is asked for."

    @property
    def why(self) -> str:
        """What happened, as a part of a sentence."""
        name, job, why = (printable(str(self.fields[field])) for field in ("name", "job", "why"))
        return f"the allocation {name} (job {job}) has ended: {why}"


class NoKernel(RemoteError):
    """`hosts` are the arguments of `sshpyk ps` that show which kernels there are."""

    sentence = "There is no kernel {id} on {host}: {why}."
    next_step = "See which there are:"
    next_command = "sshpyk ps {hosts}"


class NoRun(RemoteError):
    sentence = "{host} has nothing of a run {id}."
    next_step = "What a run wrote stays there for a week after its end."


class NoAgent(SshpykError):
    sentence = "The kernel is on the Jupyter Server {host}, where no program of ours can run it."
    next_step = "Name a kernel that is reached by ssh or by a command."


class Encrypted(RemoteError):
    sentence = (
        "The kernel {name} on {host} encrypts its connections, so nothing there can run a notebook "
        "in it."
    )
    next_step = "Start one without `transport_encryption`."


class OtherNode(RemoteError):
    sentence = "The kernel {id} runs on the node {node}, but {host} led to another node."
    next_step = "Try again, or name the node itself."


class AgentDefect(RemoteError):
    sentence = "sshpyk's program on {host} failed; that is a defect of sshpyk."
    next_step = "Please report it with the text below."


class Limited(RemoteError):
    sentence = "{host} allows you only {what}, which is too little for a kernel."
    next_step = (
        "Raise the limit in the start-up file there that sets it, or ask its administrator. "
        "All limits:"
    )
    remote_command = "ulimit -a"


class SetupFailed(RemoteError):
    """`advice` is `setup_advice`."""

    sentence = "The setup lines failed on {host}."
    next_step = "{advice} The shell there said:"


class NothingThere(RemoteError):
    sentence = "{host} has no kernelspec, and no Python environment that could run a kernel."
    next_step = (
        "Name an environment's Python with --remote-python, or bring one with --setup "
        "'module load …'."
    )


class NothingReady(RemoteError):
    sentence = "No kernel is ready on {host}."
    next_step = "Name one of the environments, with --install-ipykernel."


class NotUsable(RemoteError):
    sentence = "{path} on {host} can't be used: {reason}."
    next_step = "Choose another."


class NoIpykernel(RemoteError):
    sentence = "{python} on {host} has no ipykernel."
    next_step = "Say `--install-ipykernel --yes`, or install it there:"
    remote_command = "{python} -m pip install ipykernel"


class InstallFailed(RemoteError):
    """`details` is what pip said."""

    sentence = "ipykernel could not be installed into {python} on {host}."
    next_step = "Install it there by hand:"
    remote_command = "{python} -m pip install ipykernel"


class TooMuchOutput(RemoteError):
    sentence = "{host} sends more than {size} MB as the output that it has kept of the kernel {id}."
    next_step = (
        "No kernel keeps more than its `outputs_limit`. If it was set on another machine, set the "
        "same here:"
    )
    next_command = "sshpyk edit {card} --outputs-limit BYTES"


class AgentSilent(RemoteError):
    sentence = "The agent on {host} does not answer."
    next_step = "sshpyk tries again by itself. See what runs there:"
    next_command = "sshpyk ps {host}"


class ForgottenByAgent(RemoteError):
    """The agent knows this client no more, as after its lease: what was asked is not answered."""

    sentence = "The agent on {host} does not know this client any more."
    next_step = "Ask again."


class LinkClosed(RemoteError):
    sentence = "The kernel on {host} was left or ended meanwhile."
    next_step = "Start or attach to it again."


class OldAgent(RemoteError):
    sentence = "The kernel on {host} was started by an older sshpyk, which leads to no ports."
    next_step = "Shut it down, and start it again."


class NobodyListens(RemoteError):
    sentence = "Nothing listens on {port} of {host}."
    next_step = "Start what should; a new connection then finds it."


class NotYourPort(RemoteError):
    sentence = "What listens on {port} of {host} is another user's, so no connection was made."
    next_step = "If you trust it, give --any-user."


class NobodysPort(RemoteError):
    sentence = "{host} does not tell whose {port} is, so no connection was made."
    next_step = "If it is yours, or you trust it, give --any-user."


class PortUnreached(RemoteError):
    sentence = "{port} of {host} could not be connected to: {reason}."
    next_step = "Look there whether it takes connections."


class StrangeAgent(RemoteError):
    """What a host says breaks the rules of what agents say: it is hostile, or a defect of ours."""

    sentence = "What answers on {host} is no agent of sshpyk: {what}."
    next_step = "Start a new kernel; if it happens again, ask who runs that host."


def describe_exit(exited: Mapping[str, Any]) -> str:
    """How a kernel ended, for people; `exited` is what the agent says of it."""
    return exits.describe(exited)


#: A shell that lacks what start-up files bring: what bash, dash and zsh say.
_FUNCTIONS = "(module|ml|conda|mamba|micromamba|spack)"
_OF_PROFILES = re.compile(
    rf"\b{_FUNCTIONS}: (?:command )?not found|command not found: {_FUNCTIONS}\b"
)


def setup_advice(said: str) -> str:
    """What to do about setup lines, where the shell has said that."""
    found = _OF_PROFILES.search(said)
    if not found:
        return "Correct them (--setup)."
    name = found.group(1) or found.group(2)
    return f"If a profile brings `{name}`, add --login-shell: other shells read none."


def setup_option(said: str) -> str:
    """The option that mends setup lines, where the shell has said that."""
    return "--login-shell" if _OF_PROFILES.search(said) else "--setup …"


def kernel_died(host: str, name: str, command: str, exited: Mapping[str, Any]) -> KernelDied:
    """The error for a kernel that died while it started, with the advice that its stderr gives.

    `command` is the ssh with which a person gets to the host.
    """
    stderr = str(exited.get("stderr", "")).strip()
    missing = re.search(r"^(/.+): No module named ipykernel", stderr, re.MULTILINE)
    helps = ""
    if missing:
        advice = "Install ipykernel there:"
        helps = on_host(command, f"{shell_word(missing.group(1))} -m pip install ipykernel")
    elif _OF_PROFILES.search(stderr):
        advice = f"{setup_advice(stderr)} Its last output:"
    elif stderr:
        advice = "Its last output says why:"
    else:
        advice = "It wrote nothing. Look at the host:"
        helps = command
    how = describe_exit(exited)
    return KernelDied(host=host, name=name, how=how, advice=advice, command=helps, details=stderr)


#: Characters of one text from a host in an error.
MOST_TEXT = 8192

#: The errors that the agent answers with, by their code (`sshpyk.agent.boot.Failed`).
FROM_AGENT: dict[str, type[RemoteError]] = {
    kind.code: kind
    for kind in (
        NoKernelspec,
        ProgramMissing,
        NotWritable,
        NotPrivate,
        NoDirectory,
        NoKernel,
        OtherNode,
        NoResources,
        Limited,
        NotAttachable,
    )
}


def from_agent(
    host: str, answer: dict[str, object], *, command: str = "", python: str = "python3"
) -> RemoteError:
    """The error that an agent's {"error": CODE, ...} is.

    `command` is the ssh with which a person gets to the host, `python` what runs the agent.
    """
    # Whatever the host sends: the message is complete, and no longer than a person reads.
    fields = {key: value for key, value in answer.items() if key not in ("error", "details")}
    fields.update({key: v[:MOST_TEXT] for key, v in fields.items() if isinstance(v, str)})
    names = fields.get("names")
    if isinstance(names, list):
        fields["names"] = ", ".join(map(str, names))[:MOST_TEXT]
    fields.update(host=host, hosts=shlex.quote(host), command=command, python=python)
    kind = FROM_AGENT.get(str(answer.get("error")))
    if kind is NoKernelspec and not names:
        kind = NoKernelspecs
    if kind is not None:
        error = kind(**fields)
        with contextlib.suppress(LookupError):
            str(error)
            return error
    details = str(fields.get("traceback") or answer)[:MOST_TEXT]
    return AgentDefect(host=host, details=details)
