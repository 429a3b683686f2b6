"""`import sshpyk`: what programs can do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sshpyk
from tests.lab.sshd import Sshd


def test_the_import_costs_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import sshpyk; sshpyk.__version__; "
        "print(*(set(sys.modules) - before - {'typing'}))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", "import typing, re; " + code],
                          env={"PYTHONPATH": str(Path(sshpyk.__file__).parent.parent)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert set(done.stdout.split()) == {"sshpyk", "sshpyk.version"}


def test_all_names_are_there() -> None:
    for name in sshpyk.__all__:
        assert getattr(sshpyk, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        sshpyk.nothing  # noqa: B018  # it is what is tested


@pytest.mark.sshd
def test_a_program(sshd: Sshd, tmp_path: Path) -> None:
    config: dict[str, Any] = {"ssh_config": str(sshd.ssh_config), "remote_python": sys.executable}
    assert sshpyk.hosts() == []
    with pytest.raises(sshpyk.SettingsError, match="no setting wrong"):
        sshpyk.add(sshd.host, wrong=1)
    made = sshpyk.add(sshd.host, kernel_name="mine", remote_kernel_name="python3", **config)
    assert made == ["mine"]
    assert sshpyk.hosts() == [sshpyk.Host(sshd.host, sys.executable)]
    with pytest.raises(sshpyk.SettingsError) as unknown:
        sshpyk.start("nobody")
    assert unknown.value.code == "no-such-kernel"

    with sshpyk.start("mine", env={"A": "1"}) as kernel:
        assert kernel.execute("import os; x = 41; print(os.environ['A'])") == "1\n"
        with pytest.raises(sshpyk.SshpykError) as raised:
            kernel.execute("1/0")
        assert raised.value.code == "code-raised"
        assert "ZeroDivisionError" in raised.value.what
        assert kernel.status.to_json()["state"] == "connected"
        (info,) = sshpyk.status()
        assert (info.id, info.host, info.state) == (kernel.id, sshd.host, "attached")
        id = kernel.id
        kernel.leave()
    (info,) = sshpyk.status(use=True)
    assert info.state == "detached"
    assert info.memory
    kernel = sshpyk.attach(id[:8])
    assert kernel.execute("print(x + 1)") == "42\n"

    path, done = tmp_path / "n.ipynb", tmp_path / "done.ipynb"
    path.write_text(
        json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": "print(x, y)"}]})
    )
    result = sshpyk.run(str(path), id, parameters={"y": [1, None]}, output=str(done))
    assert (result.status, result.ran, result.kernel) == ("ok", 2, id)
    assert "41 [1, None]" in done.read_text()
    done.unlink()
    left = sshpyk.run(str(path), id, parameters={"y": 2}, output=str(done), detach=True)
    assert left.status == "detached"
    collected = sshpyk.collect(left.run, str(done))
    while collected.goes_on:
        collected = sshpyk.collect(left.run, str(done))
    assert collected.result.status == "ok"
    assert "41 2" in done.read_text()
    kernel.stop()
    assert sshpyk.status() == []
