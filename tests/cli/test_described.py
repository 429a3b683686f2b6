"""What `--json` writes is what the reference says, key by key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sshpyk.cli import COMMANDS, make_parser
from sshpyk.cli.completion import _actions
from sshpyk.cli.described import FORMATS, VERSION, Field, shape_of
from sshpyk.wire.shapes import fault
from tests.cli.conftest import Call
from tests.lab.kernels import started, write_spec
from tests.lab.sshd import Sshd


def check(value: dict[str, Any], fields: tuple[Field, ...]) -> None:
    """It has these keys and no others, each of the shape that was described."""
    assert fault(value, shape_of(fields), "it") == ""
    assert set(value) == {field.key.rstrip("?") for field in fields}
    for field in fields:
        found = value[field.key.rstrip("?")]
        for part in found if isinstance(found, list) else [found]:
            if field.parts and part is not None:
                check(part, field.parts)


def check_all(text: str, command: str) -> None:
    """What a command wrote: an object, or a list of objects, at least one."""
    written = json.loads(text)
    rows = written if isinstance(written, list) else [written]
    assert rows
    for row in rows:
        assert row.pop("version") == VERSION
        check(row, FORMATS[command][1])


def test_each_command_with_json_is_described() -> None:
    parser = make_parser(*COMMANDS)
    able = {
        name
        for name in COMMANDS
        if any("--json" in action.option_strings for action in _actions(parser, name))
    }
    assert able == {*FORMATS, "top"}  # `top` writes what `ps` does


@pytest.mark.sshd
def test_real_json(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    with started("remote"):
        check_all(sshpyk("ps", "--json").out, "ps")
        top = (sys.executable, "-m", "sshpyk.cli", "top", "--json")
        with subprocess.Popen(top, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            check_all(process.stdout.readline(), "ps")
            process.terminate()
        path = tmp_path / "n.ipynb"
        path.write_text('{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1/0"}]}')
        (row,) = sshpyk("ps", "--json").json
        ran = sshpyk("run", str(path), "--on", row["id"], "--json")
        assert ran.status == 1
        check_all(ran.out, "run")
    check_all(sshpyk("list", "--json", "--no-check").out, "list")
    check_all(sshpyk("doctor", "remote", "--no-launch", "--json").out, "doctor")
