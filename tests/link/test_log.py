"""Log lines of a kernel."""

from __future__ import annotations

import logging

import pytest

from sshpyk.link.log import KernelLog


def test_a_line_names_its_kernel_and_host(caplog: pytest.LogCaptureFixture) -> None:
    log = KernelLog(logging.getLogger("test"), "0123456789", "odd-%_s%d")
    with caplog.at_level(logging.INFO, "test"):
        log.info("= connected")
        log.warning("! %s is %d%% full", "/tmp", 97)
        log.debug("< %s", "nothing that anybody asked for")
    assert caplog.messages == [
        "[01234567 odd-%_s%d] = connected",
        "[01234567 odd-%_s%d] ! /tmp is 97% full",
    ]
    assert {record.filename for record in caplog.records} == {"test_log.py"}
