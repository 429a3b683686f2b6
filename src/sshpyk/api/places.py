"""Hosts, the kernels that they offer, and those that run there."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from .. import errors
from ..cli import kernels
from ..cli.terminal import Silent
from ..jupyter import kernelspec
from ..jupyter.places import destination_of
from ..link.thread import wait_for


@dataclass(frozen=True)
class Host:
    """A host, or a place that a command leads to, and the Python there that runs our agent."""

    name: str
    python: str


def hosts() -> list[Host]:
    """The hosts of this machine's kernelspecs."""
    found = [spec.config for spec in kernelspec.all_specs().values() if spec.is_ours]
    known = {destination_of(config).host: config for config in reversed(found)}
    return [
        Host(name, str(config.get("remote_python") or "python3"))
        for name, config in sorted(known.items())
        if name
    ]


def add(
    host: str,
    *names: str,
    kernel_name: str | None = None,
    display_name: str | None = None,
    all: bool = False,
    replace: bool = False,
    **settings: Any,
) -> list[str]:
    """Add kernels of `host` to Jupyter, as `sshpyk add` does: the names of the kernelspecs made.

    `names` are kernelspecs, environments or paths of Pythons there; without them the only one that
    is ready, or `all`. `settings` are those of the reference. Asks nobody and installs nothing.
    Raises `SshpykError`.
    """
    from ..cli import add as command
    from ..server.address import is_url

    if is_url(host):
        raise errors.SettingsError(text="Kernels of a Jupyter Server are added by `sshpyk add`.")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    arguments = parser.parse_args([])
    unknown = settings.keys() - vars(arguments).keys()
    if unknown:
        raise errors.SettingsError(text=f"There is no setting {sorted(unknown)[0]}.")
    vars(arguments).update(host=host, kernels=list(names), kernel_name=kernel_name, all=all)
    vars(arguments).update(display_name=display_name, replace=replace, **settings)
    config = command.settings_of(arguments)
    adding = command.choose_kernels(arguments, Silent(), config)
    return [kernelspec.write(name, content, logos).name for name, content, logos in adding]


@dataclass(frozen=True)
class KernelInfo:
    """A kernel that runs on a host, or has ended there; what each says is in the reference, under
    `sshpyk ps --json`. None is unknown."""

    id: str
    name: str | None
    host: str
    node: str | None
    kernelspec: str | None
    state: str
    since: float | None
    pid: int | None
    started: float | None
    busy: bool | None
    busy_since: float | None
    memory: float | None
    memory_limit: float | None
    cpu: float | None
    cpu_seconds: float | None
    threads: float | None
    processes: float | None
    gpu_memory: float | None
    machine: dict[str, Any] | None
    gpus: list[dict[str, Any]] | None
    persistent: bool | None
    lease_left: float | None
    spooled: float | None
    paused: bool | None
    ended: str | None


def status(
    *hosts: str, ended: bool = False, use: bool = False, ssh_config: str | None = None
) -> list[KernelInfo]:
    """The kernels of this user that run on `hosts`, by default on those of all kernelspecs.

    With `ended` those that have ended in the last week, too; with `use` what they use, which takes
    a moment longer. Raises `SshpykError` where a host can't be asked.
    """
    from ..cli import rows

    surveys = wait_for(kernels.survey_all(kernels.places(hosts, ssh_config), use=use))
    for survey in surveys:
        if survey.trouble is not None:
            raise survey.trouble
    return [KernelInfo(**row) for row in rows.describe_all(surveys, ended=ended)]
