"""What `list` and `doctor` both check: one finding, one mark, one reason."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .. import errors
from ..jupyter.kernelspec import LocalSpec
from ..jupyter.places import destination_of
from ..schedulers.base import Allocation
from ..ssh import config
from ..ssh.command import Destination, run
from ..transport.entrance import Entrance
from .terminal import BAD, GOOD, INFO, UNKNOWN, WARNING

#: Seconds for `ssh -V`.
VERSION_TIMEOUT = 10.0

#: Keys that ssh tries without being told; that some of them are missing is no fault.
USUAL_KEYS = re.compile(r"/\.ssh/id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk|xmss)$")

MOST_JUMPS = 8


@dataclass(frozen=True)
class Check:
    """A finding: its mark, what was checked, and what was found."""

    mark: str
    what: str
    text: str

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {"mark": self.mark, "what": self.what, "text": self.text}


async def ssh_program(destination: Destination) -> Check:
    """Is there an ssh, and which?"""
    path = shutil.which(destination.program)
    if path is None:
        return Check(BAD, "SSH", one_line(errors.NoSsh(ssh=destination.program)))
    try:
        result = await run([path, "-V"], timeout=VERSION_TIMEOUT)
    except (OSError, TimeoutError) as error:
        return Check(BAD, "SSH", f"{path} can't be run: {error or 'it does not answer'}")
    version = result.stderr.strip().splitlines()
    banner = version[0] if version else ""
    return Check(GOOD if banner.startswith("OpenSSH") else WARNING, "SSH", f"{path} ({banner})")


def command(entrance: Entrance) -> Check:
    """Is there the program that leads to the place? On another host only that can tell."""
    shown = entrance.command
    try:
        if entrance.outer is None:
            entrance.check()
        else:
            entrance.check_name()
    except errors.SettingsError as error:
        return Check(BAD, "Command", one_line(error))
    return Check(GOOD if entrance.outer is None else INFO, "Command", shown)


def allocation(asked: Allocation) -> Check:
    """Are the options such? Only the scheduler can tell whether it gives that."""
    try:
        asked.check_name()
    except errors.SettingsError as error:
        return Check(BAD, "Allocation", one_line(error))
    return Check(INFO, "Allocation", f"{asked.name}: {asked.options or 'the defaults'}")


async def ssh_config(destination: Destination) -> list[Check]:
    """What ssh's configuration makes of the host, and of those on the way to it."""
    file = destination.config_path if destination.ssh_config else "ssh's usual one"
    try:
        destination.check()
        settings = await config.settings(destination)
    except errors.NoHost as error:
        return [Check(BAD, "SSH Host Alias", one_line(error))]
    except errors.SettingsError as error:
        return [Check(BAD, "SSH Config File", one_line(error))]
    except (OSError, TimeoutError) as error:
        return [Check(BAD, "SSH Config File", str(error) or f"{file}: ssh -G does not answer")]
    found = [Check(GOOD if destination.ssh_config else INFO, "SSH Config File", file)]
    hops: list[Check] = []
    jumps = settings.get("proxyjump", ["none"])[0]
    while jumps != "none" and len(hops) < MOST_JUMPS:
        first = jumps.split(",")[0]
        for hop in reversed(jumps.split(",")):
            jump_settings = await _hop_settings(destination, hop)
            hops.insert(0, _summary(f"{hop} (jump)", jump_settings))
            if hop == first:
                jumps = jump_settings.get("proxyjump", ["none"])[0]
    return [*found, *hops, _summary(destination.host, settings)]


async def _hop_settings(destination: Destination, hop: str) -> dict[str, list[str]]:
    name = f"ssh://{hop}" if ":" in hop and not hop.startswith("ssh://") else hop
    try:
        jump = replace(destination, host=name)
        jump.check()
        return await config.settings(jump)
    except errors.SettingsError as error:
        return {"trouble": [one_line(error)]}
    except (OSError, TimeoutError) as error:
        return {"trouble": [str(error) or "ssh -G does not answer"]}


def _summary(name: str, settings: dict[str, list[str]]) -> Check:
    """A line on one host of ssh's configuration."""
    what = "SSH Host Alias"
    if "trouble" in settings:
        return Check(BAD, what, f"{name}: {settings['trouble'][0]}")

    def first(key: str) -> str:
        return settings.get(key, ["?"])[0]

    text = f"{name} = {first('user')}@{first('hostname')} port {first('port')}"
    missing = [
        path
        for path in settings.get("identityfile", [])
        if not USUAL_KEYS.search(path)
        and "%" not in path
        and path != "none"
        and not os.path.exists(os.path.expanduser(path))
    ]
    if missing:
        return Check(WARNING, what, f"{text}; IdentityFile {missing[0]} is not there")
    if settings.get("proxycommand", ["none"])[0] != "none":
        text += ", through a ProxyCommand"
    if first("controlpath") not in ("none", "?") and first("controlmaster") not in ("false", "no"):
        text += f", its own master at {first('controlpath')}"
    return Check(GOOD, what, text)


def connection_of(settings: Mapping[str, Any]) -> str:
    """What the connection to a kernel's place is called."""
    return "Connection" if settings.get("via") else "SSH Connection"


def on_host(spec: LocalSpec, inspection: Mapping[str, Any] | errors.SshpykError) -> list[Check]:
    """What an inspection of the host says of the kernelspec `spec`."""
    settings = spec.config
    python = str(settings.get("remote_python") or "python3")
    remote = str(settings.get("remote_kernel_name") or "")
    connection = connection_of(settings)
    if isinstance(inspection, errors.RemoteError):
        return [
            Check(GOOD, connection, "ok"),
            Check(BAD, "Remote Launcher Python", one_line(inspection)),
        ]
    if isinstance(inspection, errors.SshpykError):
        return [
            Check(BAD, connection, one_line(inspection)),
            Check(UNKNOWN, "Remote Launcher Python", python),
            Check(UNKNOWN, "Remote Kernel Name", remote),
        ]
    found = [
        Check(GOOD, connection, "ok"),
        Check(INFO, "Remote System", inspection["system"]),
        Check(GOOD, "Remote Launcher Python", f"{python} (Python {inspection['version']})"),
    ]
    if not remote:
        return [*found, Check(BAD, "Remote Kernel Name", "not set: --remote-kernel-name")]
    kernel = inspection["found"][remote]
    if "error" in kernel:
        error = errors.from_agent(destination_of(settings).host, kernel)
        return [*found, Check(BAD, "Remote Kernel Name", one_line(error))]
    program = kernel["argv"][0]
    is_set_up = settings.get("setup") or settings.get("login_shell")
    if kernel["program"] is None and not is_set_up:
        command = Check(BAD, "Remote Command", f"{program} is not there")
    else:
        command = Check(INFO, "Remote Command", " ".join(kernel["argv"]))
    return [
        *found,
        Check(GOOD, "Remote Kernel Name", f"{remote} ({kernel['directory']})"),
        Check(INFO, "Remote Interrupt Mode", kernel["interrupt_mode"]),
        command,
    ]


def one_line(error: errors.SshpykError) -> str:
    """An error in one line, with the last of its details where the sentence alone is vague."""
    vague = (errors.HostError, errors.StrangeAnswer, errors.SettingsError)
    if error.details and type(error) in vague:
        return f"{error.line} ({error.details.splitlines()[-1].strip()})"
    return error.line
