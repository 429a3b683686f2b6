"""`ssh_verbose`: what ssh says at a login is in the log, tagged with the kernel."""

from __future__ import annotations

import logging

import pytest

from tests.lab.kernels import started, write_spec
from tests.lab.sshd import Sshd


@pytest.mark.sshd
def test_what_ssh_says_is_logged(linked_sshd: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_spec("talkative", linked_sshd, ssh_verbose="v")
    with started("talkative"):
        pass
    (said,) = [record.getMessage() for record in caplog.records if "ssh said" in record.message]
    assert "debug1: Authentication succeeded" in said or "Authenticated to" in said
    assert said.startswith("[")
