"""Finding a kernelspec on the host, as jupyter_client would, which need not be installed there.

The directories and their order are those of Jupyter's documentation ("Kernel specs"), and so is
what becomes of `argv` and `env`.
"""

from __future__ import annotations

import os
import sys

from ..wire.quickjson import loads
from .boot import Failed
from .records import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any, Dict, Iterable, List, Optional

#: Characters of a kernel.json; usual ones have a few hundred.
LARGEST = 1 << 20


class KernelSpec:
    """A kernel.json: `argv` and `env` are templates yet."""

    def __init__(self, name: str, directory: str, content: Dict[str, Any]) -> None:
        self.name = name
        self.directory = directory
        self.argv: List[str] = [str(word) for word in content.get("argv") or []]
        self.env: Dict[str, str] = {k: str(v) for k, v in (content.get("env") or {}).items()}
        self.display_name = str(content.get("display_name", name))
        self.language = str(content.get("language", ""))
        self.interrupt_mode = str(content.get("interrupt_mode") or "signal")
        metadata = content.get("metadata")
        self.metadata: Dict[str, Any] = metadata if isinstance(metadata, dict) else {}

    @property
    def supports_curve(self) -> bool:
        """Whether the kernel declares CurveZMQ: `metadata.supported_encryption`."""
        supported = self.metadata.get("supported_encryption") or []
        names = [supported] if isinstance(supported, str) else supported
        return "curve" in [str(name).strip().lower() for name in names]


def prefix() -> str:
    """The environment's root, which `-S` hides from `sys.prefix` before Python 3.14."""
    root = os.path.dirname(os.path.dirname(sys.executable))
    if os.path.exists(os.path.join(root, "pyvenv.cfg")):
        return root
    return sys.prefix


def directories(env: Dict[str, str]) -> List[str]:
    """Where kernelspecs may be, the strongest first; `env` is the environment to go by."""
    roots = [path for path in env.get("JUPYTER_PATH", "").split(os.pathsep) if path]
    if env.get("JUPYTER_DATA_DIR"):
        user = env["JUPYTER_DATA_DIR"]
    elif sys.platform == "darwin":
        user = os.path.join(home(), "Library", "Jupyter")
    else:
        data = env.get("XDG_DATA_HOME") or os.path.join(home(), ".local", "share")
        user = os.path.join(data, "jupyter")
    environment = os.path.join(prefix(), "share", "jupyter")
    is_conda = os.path.isdir(os.path.join(prefix(), "conda-meta"))
    is_environment = is_conda or prefix() != sys.base_prefix or "CONDA_PREFIX" in env
    roots += [environment, user] if is_environment else [user, environment]
    roots += ["/usr/local/share/jupyter", "/usr/share/jupyter"]
    # Environments that `setup` has put on PATH, and those that a user installed by hand.
    for path in env.get("PATH", "").split(os.pathsep):
        if path and os.path.basename(path) == "bin":
            roots.append(os.path.join(os.path.dirname(path), "share", "jupyter"))
    unique = dict.fromkeys(os.path.join(root, "kernels") for root in roots)
    return list(unique)


def all_specs(places: Iterable[str]) -> Dict[str, KernelSpec]:
    """Every kernelspec there is, by its lower-case name."""
    found: Dict[str, KernelSpec] = {}
    for place in places:
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            spec = load(os.path.join(place, name))
            if spec is not None:
                found.setdefault(name.lower(), spec)
    return found


def load(directory: str) -> Optional[KernelSpec]:
    """The kernelspec in `directory`, or None where there is no readable one."""
    try:
        with open(os.path.join(directory, "kernel.json"), encoding="utf-8") as file:
            content = loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not content.get("argv"):
        return None
    if not isinstance(content["argv"], list) or not isinstance(content.get("env") or {}, dict):
        return None
    return KernelSpec(os.path.basename(directory), directory, content)


def find(name: str, env: Dict[str, str]) -> KernelSpec:
    """The kernelspec called `name`, which may also be the path of its directory.

    Raises `Failed` "no-kernelspec" with the names there are.
    """
    places = directories(env)
    for place in places:
        spec = load(os.path.join(place, name))
        if spec is not None:
            return spec
    specs = all_specs(places)
    if name.lower() in specs:
        return specs[name.lower()]
    raise Failed("no-kernelspec", name=name, names=sorted(specs), places=places)


def expand(template: str, values: Dict[str, str], fallback: Dict[str, str]) -> str:
    """Replace $NAME and ${NAME} by the host's value, else by the client's, else leave it."""
    if "$" not in template:
        return template
    import re

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        return values.get(name, fallback.get(name, match.group()))

    return re.sub(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", value, template)


def fill(argv: List[str], values: Dict[str, str]) -> List[str]:
    """Replace {connection_file} and the other names of `values` in each word."""
    return [_fill(word, values) if "{" in word else word for word in argv]


def _fill(word: str, values: Dict[str, str]) -> str:
    if word[0] + word[-1] == "{}" and word[1:-1] in values:
        return values[word[1:-1]]
    import re

    def value(match: re.Match[str]) -> str:
        return values.get(match.group(1), match.group())

    return re.sub(r"\{(\w+)\}", value, word)
