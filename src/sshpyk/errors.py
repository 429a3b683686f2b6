"""What can go wrong, by the question a caller would ask: my mistake, the host, what is on it?

Every error is made from fields and says one clear sentence, with the next step at its end. That
text *is* what JupyterLab shows when a kernel does not start.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Mapping
from typing import Any, ClassVar


class SshpykError(Exception):
    """The root. A subclass has a `sentence` and a `next_step`, templates over its fields."""

    sentence: ClassVar[str] = "{text}"
    next_step: ClassVar[str] = ""

    def __init__(self, **fields: object) -> None:
        super().__init__(fields)
        self.fields = fields

    @property
    def what(self) -> str:
        """The sentence: what is wrong."""
        return self.sentence.format(**self.fields)

    @property
    def advice(self) -> str:
        """The next step, or nothing."""
        return self.next_step.format(**self.fields)

    def __str__(self) -> str:
        details = str(self.fields.get("details") or "").strip()
        text = " ".join(part for part in (self.what, self.advice) if part)
        return printable(f"{text}\n{details}" if details else text)


def printable(text: str) -> str:
    """`text` without what a terminal would obey: much of it is what a host said."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)?", "", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "", text)


class SettingsError(SshpykError):
    """The caller's mistake: a setting that can't be."""


class NoSsh(SettingsError):
    sentence = "The ssh program {ssh} is not there."
    next_step = "Install an OpenSSH client, or set `ssh` to its path."


class NoSshConfig(SettingsError):
    sentence = "The ssh configuration {path} is not there."
    next_step = "Create it, or set `ssh_config` to another (`sshpyk edit NAME --ssh-config PATH`)."


class NoHost(SettingsError):
    sentence = "No host is set for this kernel."
    next_step = "Set `ssh_host_alias` (`sshpyk add HOST`, or SSHPYK_SSH_HOST_ALIAS=HOST)."


class NoSuchKernel(SettingsError):
    sentence = "There is no kernel {name} on this machine; those of sshpyk are: {names}."
    next_step = "See all with: sshpyk list"


class Ambiguous(SettingsError):
    sentence = "{name!r} names {count} of the kernels on {host}, and should name one."
    next_step = "Name it by its environment or the path of its Python."


class NotOurs(SettingsError):
    sentence = "The kernel {name} is not one of sshpyk's ({path})."
    next_step = "{advice}"


class KernelExists(SettingsError):
    sentence = "There is a kernel {name} already ({path})."
    next_step = "Choose another --kernel-name, or say --replace."


# -- the host and the way to it --------------------------------------------------------------------


class HostError(SshpykError):
    """The host can't be reached or won't let us in; `details` is what ssh said."""

    sentence = "ssh could not connect to {host}."
    next_step = "Try it in a terminal: {command}"


class UnknownHost(HostError):
    sentence = "The host {host} is unknown: its name can't be resolved."
    next_step = "Check the name, or its HostName in your ssh configuration; try: {command}"


class ConnectionRefused(HostError):
    sentence = "{host} refused the connection."
    next_step = "Check that an ssh server runs there, and the port; try: {command}"


class Unreachable(HostError):
    sentence = "{host} does not answer."
    next_step = "Check the network, a VPN, or the host itself; try: {command}"


class NeedsPerson(HostError):
    """ssh wants something that only a person can give; `sshpyk connect` lets one."""


class AuthenticationFailed(NeedsPerson):
    sentence = "{host} accepted no key of yours, and a kernel's start can't ask for a password."
    next_step = (
        "Log in once in a terminal, then start the kernel again: sshpyk connect {connect} "
        "(or set up a key: ssh-copy-id {copy})"
    )


class HostKeyUnknown(NeedsPerson):
    sentence = "{host} is not among the hosts you know: its key was never confirmed."
    next_step = "Connect once in a terminal and compare the fingerprint it shows: {ask}"


class HostKeyChanged(NeedsPerson):
    sentence = (
        "The key of {host} is not the one you know: someone may be in between, "
        "or the host was installed anew."
    )
    next_step = (
        "Ask its administrator; if it is right, remove the old key as ssh says below, and "
        "connect once in a terminal: {ask}"
    )


class NotLetIn(HostError):
    sentence = "ssh did not connect to {host}; what it said above says why."
    next_step = "For a look at the whole way: sshpyk doctor {connect}"


class ConnectionLost(HostError):
    sentence = "The connection to {host} was lost while the kernel was being started."
    next_step = "Start it again."


class LaunchTimeout(HostError):
    sentence = "The kernel on {host} was not ready within {seconds:g} s ({stage})."
    next_step = (
        "Raise `launch_timeout` (sshpyk edit NAME --launch-timeout SECONDS) or try: {command}"
    )


class ShellWaits(LaunchTimeout):
    """The job's session is there, and nothing of ours has answered through it."""

    sentence = "{host} let us in, but {python} has said nothing there within {seconds:g} s."
    next_step = (
        "See whether a start-up file of the shell there waits for a person (a question, a menu, "
        "tmux): {command} {python} -V (if it is only slow, raise `launch_timeout`: "
        "sshpyk edit NAME --launch-timeout SECONDS)"
    )


class NoForwarding(HostError):
    sentence = "The ssh server of {host} lets nothing be forwarded, and sshpyk needs that."
    next_step = "Ask its administrator for AllowTcpForwarding: yes or local."


# -- what is on the host ---------------------------------------------------------------------------


class RemoteError(SshpykError):
    """The host was reached, and something there is not as it must be."""


class PythonMissing(RemoteError):
    sentence = "{host} has no {python} that could be run."
    next_step = (
        "Set `remote_python` to a Python that is there (sshpyk edit NAME --remote-python PATH); "
        "this may find one: {command} \"sh -lc 'command -v python3'\""
    )


class PythonTooOld(RemoteError):
    sentence = "{python} on {host} is Python {version}; sshpyk needs 3.8 or later there."
    next_step = "Set `remote_python` to a later one (sshpyk edit NAME --remote-python PATH)."


class StrangeAnswer(RemoteError):
    sentence = "{host} did not answer as a host does on which {python} starts."
    next_step = (
        "Look at what it says to: {command} {python} -V "
        "(a start-up file of the shell there may be in the way, which should read nothing)"
    )


class NoCommands(StrangeAnswer):
    sentence = "The account on {host} may run no commands: it is for file transfer, or locked."
    next_step = "Use one with a shell, or ask its administrator; see: {command} echo it runs"


class CommandSplit(StrangeAnswer):
    sentence = (
        "A forced command on {host} takes apart what it is asked to run, which a shell should "
        "read once."
    )
    next_step = (
        "Have ForceCommand (sshd_config) or command= (authorized_keys) there end with: "
        'sh -c "$SSH_ORIGINAL_COMMAND"'
    )


class InputTaken(StrangeAnswer):
    sentence = "Something on {host} read the input that was for {python}."
    next_step = (
        "Look for it: a start-up file of the shell there may be in the way, which should read "
        "nothing and start no other shell unless it has a terminal ([ -t 0 ]); or a forced command "
        'that is a shell, and should end with: sh -c "$SSH_ORIGINAL_COMMAND"'
    )


class WantsTerminal(StrangeAnswer):
    sentence = "What {host} starts at a login wants a terminal, and {python} was not started."
    next_step = (
        "Have the shell's start-up file there start it (tmux, screen, a menu) only where there is "
        "a terminal: [ -t 0 ] && …; or use an account with a plain login shell."
    )


class EndedSilently(StrangeAnswer):
    sentence = "{host} ended the session without a word (exit status {status})."
    next_step = (
        "See whether it runs commands: {command} echo it runs (the login shell may be "
        "/bin/false, a start-up file may exit, a forced command may not run what it is asked to)"
    )


class EndlessNoise(StrangeAnswer):
    sentence = "The shell on {host} prints without end, and {python} was not started."
    next_step = (
        "Have its start-up files print only where there is a terminal ([ -t 1 ]); "
        "see: {command} {python} -V"
    )


class NoKernelSpec(RemoteError):
    sentence = "There is no kernelspec {name} on {host}; there are: {names}."
    next_step = "Set `remote_kernel_name` to one of them (sshpyk edit NAME --remote-kernel-name …)."


class NoKernelSpecs(RemoteError):
    sentence = "There is no kernelspec {name} on {host}, nor any other that {python} could find."
    next_step = (
        "Set `remote_python` to the Python of an environment that has a kernel, "
        "or install one: {pip}"
    )


class ProgramMissing(RemoteError, FileNotFoundError):
    """A local kernel's start raises FileNotFoundError for it, and callers may expect that."""

    sentence = "The kernelspec {kernel} on {host} starts {program}, which can't be run: {reason}."
    next_step = "Install the kernel again there, or choose another `remote_kernel_name`."


class NotWritable(RemoteError):
    sentence = "{host}: {path} can't be written: {reason}."
    next_step = (
        "Make room there or mend its permissions; or have your shell's start-up file there set "
        "XDG_STATE_HOME to a directory that can be written."
    )


class NoResources(RemoteError):
    sentence = "{host} would not start one more process for you: {reason}."
    next_step = "See what runs there and what the limits are: {command} 'ps x; ulimit -a'"


class NotPrivate(RemoteError):
    sentence = "{host}: {path} is not a directory of yours alone (its owner is user {owner})."
    next_step = "Move it away: {command} mv {path} {path}.old"


class NoDirectory(RemoteError):
    sentence = "{host}: {path} is not a directory that can be entered."
    next_step = "Create it, or set `remote_cwd` to another (sshpyk edit NAME --cwd PATH)."


class NoCurve(RemoteError):
    sentence = (
        "transport_encryption is required, but the kernelspec {name} on {host} does not declare it."
    )
    next_step = "Use a kernel that does (ipykernel 7.3 or later), or set it to auto."


class KernelDied(RemoteError):
    """`details` ends with the kernel's own last lines."""

    sentence = "The kernel {name} on {host} ended while it started ({how})."
    next_step = "{advice}"


class KernelGone(RemoteError):
    sentence = "The kernel on {host} is gone: {why}."
    next_step = "Start a new one."


class NoKernel(RemoteError):
    sentence = "There is no kernel {id} on {host}: {why}."
    next_step = "See which there are: sshpyk ps {host}"


class OtherNode(RemoteError):
    sentence = "The kernel {id} runs on {node}, another node than the one that {host} led to."
    next_step = "Try again, or name the node itself."


class AgentDefect(RemoteError):
    sentence = "sshpyk's program on {host} failed; that is a defect of sshpyk."
    next_step = "Please report it with the text below."


class Limited(RemoteError):
    sentence = "{host} allows you only {what}, which is too little for a kernel."
    next_step = (
        "Raise the limit in the start-up file there that sets it, or ask its administrator; "
        "see: {command} 'ulimit -a'"
    )


class SetupFailed(RemoteError):
    sentence = "The setup lines failed on {host}."
    next_step = "Mend them (--setup); what was said:"


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
    next_step = "Say --install-ipykernel --yes, or install it there: {command}"


class InstallFailed(RemoteError):
    sentence = "ipykernel could not be installed into {python} on {host}."
    next_step = "Install it there by hand; this was run, and said: {command}"


class StrangeAgent(RemoteError):
    """What a host says breaks the rules of what agents say: it is hostile, or a defect of ours."""

    sentence = "What answers on {host} is no agent of sshpyk: {what}."
    next_step = "Start a new kernel; if it happens again, ask who runs that host."


def describe_exit(exited: Mapping[str, Any]) -> str:
    """How a kernel ended, for people; `exited` is the agent's word of it."""
    if exited.get("signum") is not None:
        how = f"signal {exited['signum']}"
    elif exited.get("code") is not None:
        how = f"exit status {exited['code']}"
    else:
        how = "nobody saw how"
    return f"{how}: {exited['note']}" if exited.get("note") else how


def kernel_died(host: str, name: str, command: str, exited: Mapping[str, Any]) -> KernelDied:
    """The error for a kernel that died while it started, with the advice its stderr gives."""
    stderr = str(exited.get("stderr", "")).strip()
    missing = re.search(r"^(/.+): No module named ipykernel", stderr, re.MULTILINE)
    if missing:
        advice = f"Install ipykernel there: {pip_command(command, missing.group(1))}"
    elif stderr:
        advice = "What it said last says why:"
    else:
        advice = f"It said nothing; look into the host: {command}"
    return KernelDied(
        host=host, name=name, how=describe_exit(exited), advice=advice, details=stderr
    )


def pip_command(command: str, python: str) -> str:
    """The command, for a terminal here, that installs ipykernel for `python` on the host."""
    remote = f"{shlex.quote(python)} -m pip install ipykernel"
    if python.startswith("~/"):
        remote = f"~/{shlex.quote(python[2:])} -m pip install ipykernel"
    return f"{command} {shlex.quote(remote)}"


#: Characters of one text from a host in an error.
MOST_TEXT = 8192

#: The kinds that the agent answers with (`sshpyk.agent.boot.Failed`).
FROM_AGENT: dict[str, type[RemoteError]] = {
    "no-kernelspec": NoKernelSpec,
    "exec": ProgramMissing,
    "not-writable": NotWritable,
    "not-private": NotPrivate,
    "no-directory": NoDirectory,
    "no-kernel": NoKernel,
    "other-node": OtherNode,
    "no-resources": NoResources,
    "limited": Limited,
}


def from_agent(
    host: str, answer: dict[str, object], *, command: str = "", python: str = "python3"
) -> RemoteError:
    """The error that an agent's {"error": KIND, ...} is.

    `command` is that with which a person reaches the host, `python` what runs the agent.
    """
    command = command or f"ssh {shlex.quote(host)}"
    # Whatever the host sends: the message is complete, and no longer than a person reads.
    fields = {key: value for key, value in answer.items() if key not in ("error", "host")}
    fields.update({key: v[:MOST_TEXT] for key, v in fields.items() if isinstance(v, str)})
    fields.update(command=command, python=python, pip=pip_command(command, python))
    names = fields.get("names")
    if isinstance(names, list):
        fields["names"] = ", ".join(map(str, names))[:MOST_TEXT]
    kind = FROM_AGENT.get(str(answer.get("error")))
    if kind is NoKernelSpec and not names:
        kind = NoKernelSpecs
    if kind is not None:
        error = kind(host=host, **fields)
        with contextlib.suppress(LookupError):
            str(error)
            return error
    details = str(fields.get("traceback") or answer)[:MOST_TEXT]
    return AgentDefect(host=host, details=details)
