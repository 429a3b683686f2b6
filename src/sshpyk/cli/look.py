"""A look at a host: what it offers, installing ipykernel there, and the kernel.json of a choice.

For `sshpyk add` and for JupyterLab: nothing here knows a terminal or a browser. What is a coroutine
belongs to the I/O thread.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import errors
from ..jupyter import kernelspec
from . import remote
from .candidates import Candidate, logos_of, make, metadata_of
from .terminal import clean

if TYPE_CHECKING:
    from ..schedulers.base import Allocation
    from ..ssh.command import Destination
    from ..transport.base import Transport
    from ..transport.entrance import Entrance
    from ..wire.requests import InstallRequest

#: Seconds for inspecting a host, and for installing ipykernel.
INSPECT_TIMEOUT = 60.0
INSTALL_TIMEOUT = 900.0

#: Seconds for connecting, where `launch_timeout` does not say.
CONNECT_TIMEOUT = 30.0

#: Characters of names that are made of what a host says.
LONGEST = 100

#: What gets written: a name, kernel.json and logos.
Adding = tuple[str, dict[str, Any], dict[str, bytes]]


@dataclass
class Look:
    """What a host, which the settings `config` name, has said of itself."""

    config: Mapping[str, Any]
    inspection: dict[str, Any]
    offered: list[Candidate]

    @property
    def destination(self) -> Destination | Entrance | Allocation:
        """What leads there."""
        return destination_of(self.config)

    @property
    def host(self) -> str:
        """What it is called."""
        return self.destination.host

    def name_of(self, candidate: Candidate) -> str:
        """A name for programs."""
        return name_of(candidate, kind_of(self.config), self.host)

    def display_name_of(self, candidate: Candidate) -> str:
        """A name for people."""
        return display_for(candidate.display_name, candidate.environment, self.host)

    def adding(
        self, candidate: Candidate, name: str, display_name: str, language: str = ""
    ) -> Adding:
        """What is to be written for a candidate. Raises `NotUsable`, `SettingsError`."""
        if candidate.trouble:
            raise errors.NotUsable(host=self.host, path=candidate.path, reason=candidate.trouble)
        config = {
            "remote_python": candidate.python,
            **self.config,
            "remote_kernel_name": candidate.kernel_name,
        }
        language = language or language_of(candidate.language)
        spec = candidate.spec
        return adding(name, display_name, language, config, spec, self.inspection)

    async def install(self, candidate: Candidate) -> None:
        """Install ipykernel into a candidate's environment. Raises `SshpykError`."""
        machine, patience = transport_of(self.config), patience_of(self.config)
        request: InstallRequest = {"do": "install", "python": candidate.python}
        done = await remote.ask(
            machine, candidate.python, request, connect=patience, timeout=INSTALL_TIMEOUT
        )
        if "failed" in done:
            raise errors.InstallFailed(
                host=self.host,
                python=candidate.python,
                command=self.destination.for_people(),
                details=done["failed"],
            )
        inspection = await remote.inspect(
            machine,
            candidate.python,
            remote.inspect_request(["python3"]),
            connect=patience,
            timeout=INSPECT_TIMEOUT,
        )
        candidate.ipykernel = done["ipykernel"]
        spec = inspection["found"]["python3"]
        if "error" in spec:
            raise errors.from_agent(self.host, spec)
        candidate.spec = spec


def config_of(host: str) -> dict[str, Any]:
    """The settings that mean a host, as a person calls it. Raises `SettingsError`."""
    from ..jupyter.places import NAMES
    from ..server.address import is_url
    from ..transport.entrance import expand

    if is_url(host):
        raise errors.SettingsError(
            text=f"{clean(host)} is a Jupyter Server.",
            advice="Add its kernels in a terminal:",
            command=shlex.join(["sshpyk", "add", host]),
        )
    for spec in kernelspec.all_specs().values():
        # But the Python: which one there is what a look is to find out.
        names = [name for name in NAMES if name in spec.config and name != "remote_python"]
        config = {name: spec.config[name] for name in names}
        if spec.is_ours and config and destination_of(config).host == host:
            return config  # with all that it takes to get there
    command = expand(host)
    return {"ssh_host_alias": host} if command is None else {"via": command}


async def look(config: Mapping[str, Any], names: Sequence[str] = ()) -> Look:
    """Look at a host, with its usual Python or the first that will do. Raises `SshpykError`.

    Those of `names` that are paths are looked at wherever they are.
    """
    inspection = await _inspect(config, [name for name in names if name.startswith("/")])
    host = destination_of(config).host
    if inspection["setup_trouble"]:
        said = inspection["setup_trouble"]
        raise errors.SetupFailed(host=host, advice=errors.setup_advice(said), details=said)
    offered = make(inspection)
    if not offered:
        raise errors.NothingThere(host=host)
    return Look(config, inspection, offered)


async def _inspect(config: Mapping[str, Any], pythons: list[str]) -> dict[str, Any]:
    host = transport_of(config)
    request = remote.inspect_request(
        [],
        setup=config.get("setup"),
        login_shell=config.get("login_shell", False),
        environments=True,
        pythons=pythons,
    )

    async def ask_host(python: str) -> dict[str, Any]:
        return await remote.inspect(
            host,
            python,
            request,
            connect=patience_of(config),
            timeout=INSPECT_TIMEOUT,
            pythonhome=config.get("remote_pythonhome"),
        )

    if "remote_python" in config:
        return await ask_host(config["remote_python"])
    try:
        return await ask_host("python3")
    except (errors.PythonMissing, errors.PythonTooOld, errors.StrangeAnswer) as trouble:
        return await ask_host(await remote.find_python(host, trouble))


def adding(
    name: str,
    display_name: str,
    language: str,
    config: Mapping[str, Any],
    spec: Mapping[str, Any] | None = None,
    inspection: Mapping[str, Any] | None = None,
) -> Adding:
    """What is to be written for a kernelspec `spec` of a host's. Raises `SettingsError`."""
    name = kernelspec.check_name(name)
    metadata = metadata_of(spec or {})
    content = kernelspec.make_content(name, display_name, language, config, metadata)
    return name, content, logos_of(spec or {}, inspection or {})


# -- names and hosts -------------------------------------------------------------------------------


def name_for(*parts: str) -> str:
    """A kernel's name made from a host's and others'."""
    text = re.sub(r"[^a-z0-9._-]+", "_", "_".join(filter(None, parts)).lower())
    return text[:LONGEST].lstrip("._-")


def kind_of(config: Mapping[str, Any]) -> str:
    """How the name of a kernel begins."""
    return "" if config.get("via") or "slurm" in config else "ssh"


def display_for(display_name: str, environment: str, host: str) -> str:
    """What Jupyter's launcher calls a kernel."""
    where = f" ({environment})" if environment and environment not in display_name else ""
    return clean(f"{display_name[:LONGEST].replace(' (ipykernel)', '')}{where} @ {host}")


def language_of(text: str) -> str:
    """A language as a host calls it."""
    return clean(text)[:LONGEST]


def name_of(candidate: Candidate, kind: str, host: str) -> str:
    """A kernel's name for programs."""
    bare = candidate.kernel_name.rpartition("/")[2]
    if candidate.environment and bare == "python3":
        return name_for(kind, host, candidate.environment)
    return name_for(kind, host, candidate.environment, bare)


def transport_of(config: Mapping[str, Any]) -> Transport:
    """The way to the host that settings mean. Raises `SettingsError`."""
    return remote.transport_to(destination_of(config))


def destination_of(config: Mapping[str, Any]) -> Destination | Entrance | Allocation:
    """What leads to the host that settings mean."""
    from ..jupyter import places

    return places.destination_of(config)


def patience_of(config: Mapping[str, Any]) -> float:
    """Seconds for connecting to the host that settings mean."""
    return float(config.get("launch_timeout", CONNECT_TIMEOUT))
