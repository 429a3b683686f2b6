"""The job "install": put ipykernel into a Python environment, as its user would.

It gets "python", the environment's. It answers {"ipykernel": version}, or {"failed": what the
installer said last}.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from .boot import answer
from .inspect_pythons import ask_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

PACKAGE = "ipykernel"


def run(request: Dict[str, Any]) -> None:
    """Install it, with the first installer that there is."""
    python = request["python"]
    said = ""
    for argv in installers(python):
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            said = str(error)
            continue
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode == 0 or f"No module named {argv[2]}" not in said:
            break
    found = ask_all([{"python": python, "kind": "", "name": ""}], dict(os.environ))[0]
    if found["ipykernel"]:
        answer(ipykernel=found["ipykernel"], command=argv)
    else:
        answer(failed=said.strip()[-3000:], command=argv)


def installers(python: str) -> List[List[str]]:
    """Command lines that install it there, the best first."""
    root = os.path.dirname(os.path.dirname(python))
    found = [[python, "-m", "pip", "install", "--no-input", PACKAGE]]
    if shutil.which("uv"):
        found.append(["uv", "pip", "install", "--python", python, PACKAGE])
    if os.path.isdir(os.path.join(root, "conda-meta")):
        for program in ("mamba", "conda", "micromamba"):
            if shutil.which(program):
                found.insert(0, [program, "install", "-y", "-p", root, PACKAGE])
                break
    return found
