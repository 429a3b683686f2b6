"""What an agent attaches to: a connection file that somebody else has written."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from sshpyk.agent.attached import AttachedPlan
from sshpyk.agent.boot import Failed

PORTS = {f"{name}_port": 5000 + n for n, name in enumerate(("shell", "iopub", "stdin", "control"))}
GOOD = {**PORTS, "hb_port": 6000, "ip": "0.0.0.0", "transport": "tcp", "key": "k"}


def plan(tmp_path: Path, content: Any) -> AttachedPlan:
    origin = tmp_path / "kernel-1.json"
    origin.write_text(content if isinstance(content, str) else json.dumps(content))
    request = {"kernel_name": "python3", "connection_file": str(origin)}
    return AttachedPlan(request, str(tmp_path), str(tmp_path))


def test_where_the_kernel_is(tmp_path: Path) -> None:
    found = plan(tmp_path, GOOD)
    assert found.addresses["hb"] == ("127.0.0.1", 6000)
    copy = tmp_path / "connection.json"
    assert json.loads(copy.read_text())["key"] == "k"
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    found = plan(tmp_path, {**GOOD, "transport": "ipc", "ip": "/run/kernel"})
    assert found.addresses["shell"] == "/run/kernel-5000"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        {**GOOD, "hb_port": "6000"},
        {**GOOD, "hb_port": -1},
        {**GOOD, "curve_publickey": "x"},
    ],
)
def test_what_is_no_connection_file(tmp_path: Path, content: Any) -> None:
    with pytest.raises(Failed) as caught:
        plan(tmp_path, content)
    assert caught.value.fields["error"] == "not-attachable"
    assert not (tmp_path / "connection.json").exists()


def test_one_that_is_not_there(tmp_path: Path) -> None:
    request = {"kernel_name": "x", "connection_file": str(tmp_path / "none.json")}
    with pytest.raises(Failed, match="not-attachable"):
        AttachedPlan(request, str(tmp_path), str(tmp_path))
