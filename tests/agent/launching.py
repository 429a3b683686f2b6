"""What a client sends to have a kernel launched, without a client."""

from __future__ import annotations

import json
from pathlib import Path


def launch_request(home: Path, *argv: str, **more: object) -> bytes:
    """The line that asks for a kernel of the command `argv`, its kernelspec put into `home`."""
    spec = home / ".local/share/jupyter/kernels/here"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "env": {"A": "b"}}))
    kernel = {
        **dict.fromkeys(("kernel_name", "key", "signature_scheme"), "here"),
        **{key: {} for key in ("env", "literal_env", "local_env")},
        **{key: [] for key in ("cwd", "setup", "extra_arguments")},
        "login_shell": False,
    }
    request = {"do": "launch", "id": "x" * 8, "kernel": kernel, **more}
    return json.dumps(request).encode() + b"\n"
