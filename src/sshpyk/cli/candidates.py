"""What a host offers: kernels that could be added, from what the job "inspect" has answered."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingsError


@dataclass
class Candidate:
    """A kernel that could be added.

    `python` runs the agent and `kernel_name` is what it starts: the settings of the same sense.
    `environment` is the environment's name, where it has one. Without a `spec` there is only an
    environment, without ipykernel. `trouble` is why it can't be used, else empty.
    """

    python: str
    kernel_name: str
    display_name: str
    language: str
    path: str
    environment: str = ""
    version: str = ""
    ipykernel: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether it has a kernelspec, and a Python to run the agent."""
        return bool(self.spec) and not self.trouble

    def is_called(self, name: str) -> bool:
        """Whether a person may mean it by `name`: kernelspec, environment or path."""
        bare = os.path.basename(self.kernel_name).lower()
        paths = [self.path, self.kernel_name]
        if not self.spec or _is_python(self.spec):
            # For another language's kernel this Python only runs the agent.
            paths += [self.python, _root(self.python)]
            if "/bin/python" in name and _root(name) == _root(self.python):
                return True  # python, python3, python3.12: all the environment's
        return name.lower() in (bare, self.environment.lower()) or name.rstrip("/") in paths


def metadata_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a remote kernelspec's metadata comes along, as far as it has the right shape."""
    given = spec.get("metadata")
    metadata = given if isinstance(given, dict) else {}
    kept: dict[str, Any] = {}
    if isinstance(metadata.get("debugger"), bool):
        kept["debugger"] = metadata["debugger"]
    supported = metadata.get("supported_encryption")
    if isinstance(supported, str) or (
        isinstance(supported, list) and all(isinstance(name, str) for name in supported)
    ):
        kept["supported_encryption"] = supported
    return kept


def logos_of(spec: Mapping[str, Any], inspection: Mapping[str, Any]) -> dict[str, bytes]:
    """The icons that come along: by file name, which the host may not choose freely."""
    found = {}
    logos = spec.get("logos")
    for name, digest in (logos if isinstance(logos, dict) else {}).items():
        data = inspection.get("logos", {}).get(digest)
        if re.fullmatch(r"logo-[\w-]{1,40}\.(png|svg)", name) and isinstance(data, str):
            found[name] = base64.b64decode(data)
    return found


def make(inspection: Mapping[str, Any]) -> list[Candidate]:
    """Everything that the host offers: what is ready first."""
    found: dict[str, Candidate] = {}  # by the kernelspec's directory
    names: set[str] = set()
    for spec in inspection["kernelspecs"]:
        # A launch takes the first of a name; the others are named by their directory.
        by_name = spec["by_name"] and spec["name"].lower() not in names
        names.add(spec["name"].lower())
        found[spec["directory"]] = _from_spec(spec, inspection["python"], by_name)
    user = {spec["name"].lower() for spec in inspection["kernelspecs"] if _is_in_home(spec)}
    without = []
    for environment in inspection["environments"]:
        for spec in environment["kernelspecs"]:
            owned = environment["kind"] in ("venv", "conda")
            by_name = owned or spec["name"].lower() not in user
            if not _is_too_old(environment["version"]) and spec["directory"] not in found:
                candidate = _from_spec(spec, environment["python"], by_name)
            elif spec["directory"] in found:
                candidate = found[spec["directory"]]
                if _is_python(spec) and not _is_too_old(environment["version"]):
                    candidate.python = environment["python"]
                    candidate.kernel_name = spec["name"] if by_name else spec["directory"]
            else:
                candidate = _from_spec(spec, inspection["python"], False)
                if _is_python(spec):
                    version = environment["version"]
                    candidate.trouble = f"its Python {version} is too old to run sshpyk's agent"
            if _is_python(spec):
                candidate.environment = environment["name"]
                candidate.version = environment["version"]
                candidate.ipykernel = environment["ipykernel"]
                if "/" not in spec["argv"][0]:
                    candidate.path = environment["python"]
            found[spec["directory"]] = candidate
        if not any(_is_python(spec) for spec in environment["kernelspecs"]):
            without.append(_from_environment(environment))
    ready = sorted(found.values(), key=lambda candidate: not candidate.is_ready)
    # A kernelspec that starts an environment's Python speaks for that environment.
    by_root = {_root(found["python"]): found for found in inspection["environments"]}
    spoken_for = set()
    for candidate in ready:
        own = by_root.get(_root(candidate.path)) if _is_python(candidate.spec) else None
        if own is not None:
            candidate.version = candidate.version or own["version"]
            candidate.ipykernel = candidate.ipykernel or own["ipykernel"]
            if own["ipykernel"]:
                spoken_for.add(own["python"])
    return ready + [c for c in without if c.python not in spoken_for]


def _from_spec(spec: dict[str, Any], python: str, by_name: bool) -> Candidate:
    program = spec["argv"][0]
    return Candidate(
        python=python,
        kernel_name=spec["name"] if by_name else spec["directory"],
        display_name=spec["display_name"],
        language=spec["language"],
        path=spec["program"] or program,
        spec=spec,
        trouble="" if spec["program"] else f"its program {program} is not there",
    )


def _from_environment(environment: dict[str, Any]) -> Candidate:
    version = environment["version"]
    trouble = environment["trouble"]
    if not trouble and _is_too_old(version):
        trouble = f"its Python {version} is too old to run sshpyk's agent"
    return Candidate(
        python=environment["python"],
        kernel_name="python3",
        display_name=f"Python {version}".strip(),
        language="python",
        path=environment["python"],
        environment=environment["name"],
        version=version,
        ipykernel=environment["ipykernel"],
        trouble=trouble,
    )


def _is_python(spec: Mapping[str, Any]) -> bool:
    return any("ipykernel" in str(word) for word in spec["argv"])


def _is_too_old(version: str) -> bool:
    numbers = re.findall(r"\d+", version)[:2]
    return bool(numbers) and tuple(map(int, numbers)) < (3, 8)


def _is_in_home(spec: Mapping[str, Any]) -> bool:
    return "/.local/share/jupyter/" in spec["directory"] or "/Library/Jupyter/" in spec["directory"]


def _root(python: str) -> str:
    return os.path.dirname(os.path.dirname(python))


def choose(text: str, count: int) -> list[int]:
    """The positions that a person means by "1", "1 3", "2-4" or "all". Raises `SettingsError`."""
    if text.strip().lower() == "all":
        return list(range(count))
    chosen: list[int] = []
    for word in re.split(r"[\s,]+", text.strip()):
        span = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", word, re.ASCII)
        if span is None:
            raise SettingsError(text=f"{word!r} is no number: say 1, or 1 3, or 2-4, or all.")
        first, last = int(span[1]), int(span[2] or span[1])
        if not 1 <= first <= last <= count:
            raise SettingsError(text=f"{word} is not within 1 to {count}.")
        chosen += [number - 1 for number in range(first, last + 1)]
    return list(dict.fromkeys(chosen))


def unique(name: str, taken: Sequence[str]) -> str:
    """`name`, or with a number at its end where that is taken."""
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    return result
