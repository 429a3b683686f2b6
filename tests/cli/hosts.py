"""A host with several environments, as people have them."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.lab.sshd import Sshd

#: What a kernelspec of our own language looks like; it is no Python.
MYLANG: dict[str, Any] = {
    "argv": ["/bin/sh", "-c", "exit 0", "{connection_file}"],
    "display_name": "My Läng",
    "language": "mylang",
    "metadata": {"debugger": True, "supported_encryption": "curve", "other": 1},
}

LOGO = b"\x89PNG not really"

#: A name that needs care on every way.
AWKWARD = "mit Umlaut ä"


class RichHost:
    """A real sshd whose home has venvs, something like conda, and kernelspecs of the user's.

    - `.virtualenvs/ml` and `miniforge3/envs/ds` have ipykernel
    - `mit Umlaut ä/.venv` has it, too
    - `.virtualenvs/plain` has none, but a pip that would install it
    - `hidden/place/bin` has a Python that only a setup line brings
    - kernelspecs: mylang, and gone, whose program is not there
    """

    def __init__(self, home: Path, **arguments: Any) -> None:
        self.home = home
        self.ml = environment(home / ".virtualenvs/ml", with_ipykernel=True)
        self.ds = environment(home / "miniforge3/envs/ds", with_ipykernel=True)
        (home / "miniforge3/envs/ds/conda-meta").mkdir()
        self.awkward = environment(home / AWKWARD / ".venv", with_ipykernel=True)
        self.plain = environment(home / ".virtualenvs/plain", with_ipykernel=False)
        fake_pip(self.plain)
        self.hidden = environment(home / "hidden/place", with_ipykernel=True)
        specs = home / ".local/share/jupyter/kernels"
        spec(specs / "mylang", MYLANG)
        (specs / "mylang/logo-64x64.png").write_bytes(LOGO)
        (specs / "mylang/kernel.js").write_text("alert(1)")
        spec(specs / "gone", {**MYLANG, "argv": ["/no/such/program"], "display_name": "Gone"})
        self.sshd = Sshd(home=home, host="rich", **arguments)
        self.config = str(self.sshd.ssh_config)

    def close(self) -> None:
        """End it."""
        self.sshd.close()


def environment(root: Path, *, with_ipykernel: bool) -> Path:
    """Make a venv; its ipykernel is the one of this Python. Returns its Python."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(root)]
    subprocess.run(make, check=True)
    if with_ipykernel:
        site = next(root.glob("lib/python3*/site-packages"))
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        argv = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        content = {
            "argv": argv,
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "metadata": {"debugger": True},
        }
        spec(root / "share/jupyter/kernels/python3", content)
    return root / "bin/python"


def spec(directory: Path, content: dict[str, Any]) -> None:
    """Write a kernelspec."""
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(json.dumps(content), "utf-8")


def fake_pip(python: Path) -> None:
    """A pip that knows only one package, and comes by it without a network."""
    root = python.parent.parent
    site = next(root.glob("lib/python3*/site-packages"))
    (site / "pip").mkdir()
    (site / "pip/__main__.py").write_text(
        f"""
import json, os, sys
assert sys.argv[1:] == ["install", "--no-input", "ipykernel"], sys.argv
os.mkdir({str(site / "ipykernel-9.9.9.dist-info")!r})
os.makedirs({str(root / "share/jupyter/kernels/python3")!r})
with open({str(root / "share/jupyter/kernels/python3/kernel.json")!r}, "w") as file:
    argv = ["python", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]
    json.dump({{"argv": argv, "display_name": "Python 3", "language": "python"}}, file)
print("Successfully installed ipykernel-9.9.9")
"""
    )
