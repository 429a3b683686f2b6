"""Kernelspecs as the job "inspect" describes them to a client, with their icons."""

from __future__ import annotations

import os
import shutil
import sys

from .kernelspecs import KernelSpec, all_specs, directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

#: Bytes of a logo, and of all logos, that come along: they are icons.
LARGEST_LOGO = 128 * 1024
MOST_LOGOS = 1024 * 1024


def describe(spec: KernelSpec, logos: Logos) -> Dict[str, Any]:
    """What a client needs to know of a kernelspec."""
    program = spec.argv[0]
    own = program in ("python", "python3", f"python3.{sys.version_info[1]}")
    path = sys.executable if own else shutil.which(program)
    kept = ("debugger", "supported_encryption")
    return {
        "name": spec.name,
        "directory": spec.directory,
        "display_name": spec.display_name,
        "language": spec.language,
        "interrupt_mode": spec.interrupt_mode,
        "argv": spec.argv,
        "program": path,
        "metadata": {key: spec.metadata[key] for key in kept if key in spec.metadata},
        "logos": logos.of(spec.directory),
    }


def everything(places: List[str], logos: Logos) -> List[Dict[str, Any]]:
    """The kernelspecs in `places`."""
    return [describe(spec, logos) for spec in all_specs(places).values()]


def kernelspec_places() -> List[str]:
    """Where a launch by this very Python would look."""
    return directories(dict(os.environ))


class Logos:
    """Icons, each only once: `content` maps digests to base64."""

    def __init__(self) -> None:
        self.content: Dict[str, str] = {}
        self._room = MOST_LOGOS

    def of(self, directory: str) -> Dict[str, str]:
        """The icons of the kernelspec in `directory`: file names and digests."""
        import base64
        import hashlib

        found = {}
        try:
            names = sorted(os.listdir(directory or "/nowhere"))
        except OSError:
            return {}
        for name in names:
            if not (name.startswith("logo-") and name.endswith((".png", ".svg"))):
                continue
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    data = file.read(LARGEST_LOGO + 1)
            except OSError:
                continue
            digest = hashlib.sha256(data).hexdigest()
            if digest not in self.content:
                if len(data) > min(LARGEST_LOGO, self._room):
                    continue
                self._room -= len(data)
                self.content[digest] = base64.b64encode(data).decode("ascii")
            found[name] = digest
        return found
