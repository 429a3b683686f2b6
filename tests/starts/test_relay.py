"""Servers that forward nothing: all goes over one session."""

from __future__ import annotations

import pytest

from tests.lab.kernels import PATIENCE, link_of, run_code, started, write_spec
from tests.starts.conftest import NewServer
from tests.test_outages import PRINT, Lines

pytestmark = pytest.mark.sshd

NOTHING = [
    ["DisableForwarding yes"],
    ["AllowTcpForwarding no", "AllowStreamLocalForwarding no"],
]


@pytest.mark.parametrize("options", NOTHING, ids=["all", "both"])
def test_kernels_share_a_relay(new_server: NewServer, options: list[str]) -> None:
    server = new_server(options=options)
    write_spec("relayed", server)
    with started("relayed") as (manager, one), started("relayed") as (other_manager, other):
        assert run_code(one, "print(1)") + run_code(other, "print(2)") == "1\n2\n"
        manager.restart_kernel()
        one.wait_for_ready(timeout=30)
        size = 50_000_000
        assert len(run_code(one, f"print('x' * {size})")) == size + 1
        assert link_of(manager).transport is link_of(other_manager).transport
        assert (
            server.log.read_text().count("Starting session")
            - server.log.read_text().count("Close session")
            == 1
        )


def test_a_cut_loses_nothing(new_server: NewServer) -> None:
    server = new_server(options=["DisableForwarding yes"], link=True)
    assert server.link is not None
    write_spec("relayed", server)
    with started("relayed") as (_, client):
        first = client.execute(PRINT)
        lines = Lines(client)
        lines.read_until(lambda: len(lines.lines) == 40)
        server.link.cut()
        lines.read_until(lambda: first in lines.idle)
        assert lines.lines == [*map(str, range(200))]
        reply = client.get_shell_msg(timeout=PATIENCE)
        assert reply["parent_header"]["msg_id"] == first
