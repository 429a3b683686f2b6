"""What the commands do where paramiko makes the connections, and no ssh program."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import paramiko

from .. import errors
from ..ssh.command import Destination
from ..ssh.hops import Hop, unhonoured, way
from ..ssh.login import Login, Prompts, at_terminal, close
from .checks import Check, one_line
from .terminal import BAD, GOOD, INFO, WARNING, Terminal

#: Seconds for a login, but for what a person takes.
LOGIN_WITHIN = 30.0


def connect(destination: Destination, terminal: Terminal, *, keep: bool) -> int:
    """Log in once with a person at the terminal: that checks the way, lets them accept the host's
    key, and with `keep` keeps passwords for kernels' logins. Raises `HostError`."""
    from ..ssh import askpass

    if keep and not askpass.has_keyring():
        raise errors.SettingsError(
            text="The Python package keyring is missing.",
            advice="Install it:",
            command="pip install 'sshpyk[keyring]'",
        )
    host = destination.host
    hops = way(destination)
    if named := unhonoured(hops):
        terminal.note(_cannot(named))
    prompts = Prompts(ask=at_terminal, keep=keep)
    login = Login(destination, hops, prompts, timeout=LOGIN_WITHIN, accept=_accept)
    with _echo_restored():
        close(login.run())
    terminal.say(f"{host}: the login works")
    for name in prompts.kept:
        terminal.say(f"{host}: the keyring keeps the secret of {name}")
    if prompts.was_asked and not prompts.kept:
        terminal.note(
            "Kernels can't log in by that: without an ssh program a connection ends with its "
            f"process. Keep it for them: sshpyk connect --keyring {destination.for_connect()}"
        )
    else:
        terminal.note(
            "Kernels log in the same way, each process for itself; those that wait do so within "
            "five minutes."
        )
    return 0


def checks(destination: Destination) -> list[Check]:
    """What `list` and `doctor` say of the program, and of the configuration."""
    why = "as set" if destination.ssh else "there is no ssh program"
    found = [Check(INFO, "SSH", f"paramiko {paramiko.__version__} ({why})")]
    try:
        destination.check()
        hops = way(destination)
    except errors.SettingsError as error:
        return [*found, Check(BAD, "SSH Config File", one_line(error))]
    file = destination.config_path if destination.ssh_config else "ssh's usual one"
    named = unhonoured(hops)
    text = f"{file}; {_cannot(named)}" if named else file
    found.append(Check(WARNING if named else INFO, "SSH Config File", text))
    for hop in hops:
        is_jump = " (jump)" if hop is not hops[-1] else ""
        text = f"{hop.name}{is_jump} = {hop.user}@{hop.address} port {hop.port}"
        found.append(Check(GOOD, "SSH Host Alias", text))
    return found


def settings(hops: list[Hop]) -> dict[str, list[str]]:
    """What `ssh -G` would say of the address."""
    found = {"hostname": [hops[-1].address], "port": [str(hops[-1].port)]}
    if len(hops) > 1:
        found["proxyjump"] = [",".join(hop.name for hop in hops[:-1])]
    return found


def _cannot(named: list[str]) -> str:
    return f"paramiko can't honour: {'; '.join(named)}"


def _accept(name: str, type: str, fingerprint: str) -> bool:
    """Ask the person whether that is the host's key."""
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            question = (
                f"The key of {name} is not known. It has shown the {type} key\n{fingerprint}.\n"
                "Is that its key (yes/no)? "
            )
            terminal.write(question.encode())
            return terminal.readline().strip().lower() == b"yes"
    except OSError:
        return False


@contextlib.contextmanager
def _echo_restored() -> Iterator[None]:
    """A question may be left in the middle, with the terminal's echo off."""
    import termios

    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        yield
        return
    try:
        before = termios.tcgetattr(terminal)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)
    finally:
        os.close(terminal)
