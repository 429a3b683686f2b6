"""Kernelspecs on this machine: kernel.json files that name our provisioner and its settings.

jupyter_client could read them as well, but takes a fifth of a second to import; and it hides a
kernelspec whose file is broken, which is what a user would want to see.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_core.paths import jupyter_data_dir, jupyter_path

from .. import errors

PROVISIONER = "sshpyk-provisioner"

FILE = "kernel.json"

#: The most bytes of a kernel.json that are read: a real one has a few hundred.
LARGEST = 1 << 20


@dataclass
class LocalSpec:
    """A kernelspec in `directory`; `content` is its kernel.json, `trouble` why there is none."""

    name: str
    directory: str
    content: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """The provisioner's settings, as they stand in the file."""
        config = self._stanza.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def is_ours(self) -> bool:
        """Whether it starts its kernel through sshpyk."""
        return self._stanza.get("provisioner_name") == PROVISIONER

    @property
    def _stanza(self) -> dict[str, Any]:
        metadata = self.content.get("metadata")
        stanza = metadata.get("kernel_provisioner") if isinstance(metadata, dict) else None
        return stanza if isinstance(stanza, dict) else {}


def directory() -> str:
    """Where the user's own kernelspecs are."""
    return os.path.join(jupyter_data_dir(), "kernels")


def all_specs() -> dict[str, LocalSpec]:
    """Every kernelspec that Jupyter finds on this machine, by name, sorted."""
    found: dict[str, LocalSpec] = {}
    for place in jupyter_path("kernels"):
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(os.path.join(path, FILE)):
                found.setdefault(name.lower(), read(path))
    return dict(sorted(found.items()))


def find(name: str) -> LocalSpec:
    """The kernelspec called `name`. Raises `NoSuchKernel`."""
    specs = all_specs()
    if name.lower() not in specs:
        ours = ", ".join(spec.name for spec in specs.values() if spec.is_ours)
        raise errors.NoSuchKernel(name=repr(name), names=ours or "none")
    return specs[name.lower()]


def read(path: str) -> LocalSpec:
    """The kernelspec in the directory `path`; what is wrong with it is in its `trouble`."""
    name = os.path.basename(path)
    try:
        with open(os.path.join(path, FILE), encoding="utf-8") as file:
            content = json.loads(file.read(LARGEST))
    except OSError as error:
        return LocalSpec(name, path, trouble=f"can't be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return LocalSpec(name, path, trouble=f"is not JSON: {error}")
    if not isinstance(content, dict):
        return LocalSpec(name, path, trouble="is not a JSON object")
    return LocalSpec(name, path, content)


def make_content(
    name: str,
    display_name: str,
    language: str,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A kernel.json for our provisioner; `metadata` is what comes along of the host's own."""
    return {
        "argv": make_argv(name),
        "display_name": display_name,
        "language": language,
        # An interrupt then comes to the provisioner, which does it in the remote kernel's own way.
        "interrupt_mode": "signal",
        "metadata": {
            **(metadata or {}),
            "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": dict(config)},
        },
    }


def make_argv(name: str) -> list[str]:
    """What programs run that know no provisioners: `sshpyk-kernel` for the kernelspec `name`."""
    return [
        sys.executable,  # with -m behind it, because VS Code looks for a Python and a module
        "-m",
        "sshpyk.kernelapp",
        f"--SSHKernelApp.kernel_name={name}",
        "--KernelManager.connection_file={connection_file}",
    ]


def check_name(name: str) -> str:
    """`name` as Jupyter has it, in lower case. Raises `SettingsError` where it can't be one."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name.startswith((".", "-")):
        raise errors.SettingsError(
            text=f"{name!r} can't be a kernel's name: use letters of ASCII, digits, - . and _, and "
            "begin with a letter, a digit or _. Any text may be in its --display-name."
        )
    return name.lower()


def write(
    name: str, content: Mapping[str, Any], files: Mapping[str, bytes] | None = None
) -> LocalSpec:
    """Write the user's kernelspec `name`: kernel.json and further `files`, such as logos.

    All of it or nothing: what was there before goes when the new one is complete.
    """
    final = os.path.join(directory(), check_name(name))
    os.makedirs(directory(), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jupyter_data_dir(), prefix=".sshpyk-") as temporary:
        new, old = os.path.join(temporary, "new"), os.path.join(temporary, "old")
        os.mkdir(new)
        for file_name, data in (files or {}).items():
            with open(os.path.join(new, file_name), "wb") as file:
                file.write(data)
        with open(os.path.join(new, FILE), "w", encoding="utf-8") as text:
            text.write(to_text(content))
        if os.path.lexists(final):
            os.rename(final, old)
        os.rename(new, final)
        if os.path.islink(old):
            os.unlink(old)  # the link was the kernelspec; what it leads to is somebody's
    return LocalSpec(name, final, dict(content))


def rewrite(spec: LocalSpec) -> None:
    """Write the changed kernel.json of a kernelspec; other files beside it stay."""
    path = os.path.join(spec.directory, FILE)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(to_text(spec.content))
    os.replace(temporary, path)


def remove(spec: LocalSpec) -> None:
    """Remove a kernelspec's directory."""
    if os.path.islink(spec.directory):
        os.unlink(spec.directory)
    else:
        shutil.rmtree(spec.directory)


def to_text(content: Mapping[str, Any]) -> str:
    """kernel.json's text."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
