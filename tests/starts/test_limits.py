"""Hosts that limit what a process may use: enough is made of it, or the limit is named."""

from __future__ import annotations

import pytest

from sshpyk import errors
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import NewServer
from tests.starts.shells import needed
from tests.starts.test_shells import write_rc

pytestmark = pytest.mark.sshd


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ("ulimit -f 0", "files of 0 bytes (ulimit -f)"),
        ("ulimit -f 1", "files of 1024 bytes (ulimit -f)"),
        ("ulimit -n 64", "64 open files (ulimit -n)"),
    ],
)
def test_too_little_is_named(new_server: NewServer, limit: str, what: str) -> None:
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", f"{limit}\n")
    said = server.starting_fails(errors.Limited)
    assert said.startswith(f"sshd allows you only {what}")
    assert "'ulimit -a'" in said


#: How many files the kernel may open.
FILES = "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"


@pytest.mark.parametrize(
    ("limit", "expected"), [("ulimit -n 128", 128), ("ulimit -Sn 64", 1024), ("ulimit -f 8", None)]
)
def test_little_is_enough(new_server: NewServer, limit: str, expected: int | None) -> None:
    server = new_server(shell=needed("bash"))
    write_rc(server.home, "bash", f"{limit}\n")
    write_spec("limited", server)
    with started("limited") as (_, client):
        found = int(run_code(client, FILES))
    assert expected is None or found == expected
