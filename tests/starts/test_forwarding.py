"""Servers that forward little or nothing, and few sessions."""

from __future__ import annotations

import pytest

from tests.lab.kernels import link_of, run_code, started, write_spec
from tests.starts.conftest import NewServer

pytestmark = pytest.mark.sshd


def test_no_unix_sockets(new_server: NewServer) -> None:
    server = new_server(options=["AllowStreamLocalForwarding no"])
    write_spec("tcp", server)
    for _ in range(2):
        with started("tcp") as (manager, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
            link = link_of(manager)
            assert link.transport.family == "tcp"
            assert all(isinstance(port, int) for port in link.agent.listening.values())
    # All six at once; the second kernel did not try what the first had found not to work.
    refused = server.log.read_text().count("refused streamlocal port forward")
    assert 1 <= refused <= 6


@pytest.mark.parametrize("number", [1, 2])
def test_few_sessions(new_server: NewServer, number: int) -> None:
    server = new_server(options=[f"MaxSessions {number}"])
    write_spec("few", server)
    with started("few") as (_, one), started("few") as (_, other):
        assert run_code(one, "print(1)") + run_code(other, "print(2)") == "1\n2\n"
    assert server.logins == 1
