"""What a host answers is looked at before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sshpyk.cli.candidates import logos_of, metadata_of
from tests.cli.conftest import Call, names
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

SPEC: dict[str, Any] = {
    "name": "k",
    "directory": "/d",
    "display_name": "\x1b[31mred",
    "language": "x",
    "interrupt_mode": "signal",
    "argv": ["/bin/sh"],
    "program": "/bin/sh",
    "metadata": {},
    "logos": {},
    "by_name": True,
}
PLACE = {"path": "/", "there": "/", "free": 1 << 40, "writable": True}
GOOD: dict[str, Any] = {
    **dict.fromkeys(("python", "version", "prefix", "system", "home", "shell"), "3.11"),
    "time": 0,
    "state": PLACE,
    "tmp": PLACE,
    "kills_processes": False,
    "found": {"k": SPEC},
    "logos": {},
    "kernelspecs": [SPEC],
    "environments": [],
    "setup_trouble": "",
}

BAD: list[Any] = [
    [],
    1,
    {},
    {**GOOD, "found": []},
    {**GOOD, "found": {"k": 1}, "kernelspecs": None},
    {**GOOD, "found": {}, "environments": [{}]},
    {**GOOD, "found": {"k": {**SPEC, "argv": []}}, "kernelspecs": [{**SPEC, "argv": [1]}]},
    {**GOOD, "found": {"k": {"error": 1}}, "kernelspecs": 1},
    {**GOOD, "python": None},
    {**GOOD, "state": {}},
    {"error": "no-such-kind"},
    {"error": "no-kernelspec"},
    {"error": {}},
]


def host_that_says(answer: Any, home: Path) -> Path:
    """A "Python" that answers this, whatever it is told."""
    path = home / "python"
    (home / "answer").write_text("\nSSHPYK2 " + json.dumps(answer) + "\n")
    path.write_text(f"#!/bin/sh\ncat > /dev/null &\ncat {home}/answer\n")
    path.chmod(0o755)
    return path


@pytest.mark.sshd
@pytest.mark.parametrize("answer", BAD, ids=lambda answer: str(BAD.index(answer)))
def test_answers_of_any_shape(answer: Any, sshd: Sshd, tmp_path: Path, sshpyk: Call) -> None:
    python = str(host_that_says(answer, tmp_path))
    config = ("--ssh-config", str(sshd.ssh_config), "--remote-python", python)
    for words in (
        ("add", "sshd", *config, "--remote-kernel-name", "k"),
        ("add", "sshd", *config, "--all"),
        ("doctor", "sshd", *config),
    ):
        result = sshpyk(*words)
        assert result.status == 1, result
        assert "Traceback (most" not in result.err
        assert names() == []
    write_spec("mine", sshd, remote_python=python, remote_kernel_name="k")
    result = sshpyk("list", "-r")
    assert result.status == 1
    assert "(x) Remote" in result.out


@pytest.mark.sshd
def test_a_good_answer_can_not_steer_the_terminal(sshd: Sshd, tmp_path: Path, sshpyk: Call) -> None:
    python = str(host_that_says(GOOD, tmp_path))
    words = ("--ssh-config", str(sshd.ssh_config), "--remote-python", python)
    result = sshpyk("add", "sshd", "k", *words, "--dry-run", "--remote-kernel-name", "k")
    assert result.status == 0, result.err
    assert "\x1b" not in result.json["display_name"]


def test_what_comes_along_has_its_shape() -> None:
    assert metadata_of({"metadata": {"debugger": "yes", "supported_encryption": [1]}}) == {}
    assert metadata_of({"metadata": 5}) == {}
    inspection = {"logos": {"d": "AAAA", "e": 5}}
    bad = dict.fromkeys(("../logo-x.png", "kernel.json", "logo-/x.png", "logo-.svg.exe"), "d")
    assert logos_of({"logos": {**bad, "logo-a.png": "e", "logo-b.png": "f"}}, inspection) == {}
    assert logos_of({"logos": {"logo-64x64.png": "d"}}, inspection) == {"logo-64x64.png": b"\0" * 3}
    assert logos_of({"logos": []}, inspection) == {}
