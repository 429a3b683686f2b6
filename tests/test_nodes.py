"""One name for several login nodes in turn: a link goes on to the very node of its kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.lab.kernels import STATE, left_behind, run_code, started, write_spec
from tests.lab.sshd import Sshd

pytestmark = [
    pytest.mark.sshd,
    pytest.mark.skipif(os.getuid() != 0, reason="only root gives a host another name"),
]


def test_a_reconnect_that_lands_elsewhere_goes_on_to_the_kernel(tmp_path: Path) -> None:
    with Sshd(link=True, home=tmp_path, host="login", node="node-a") as first:
        assert first.link is not None
        # What ssh knows of the cluster: the name that is balanced, and the nodes behind it.
        nodes = first.config_text("node-a", port=first.sshd_port)
        first.ssh_config.write_text(first.config_text("login") + nodes)
        write_spec("cluster", first)
        with started("cluster") as (manager, client):
            where = "import os, socket; print(os.getpid(), socket.gethostname())"
            before = run_code(client, where)
            assert before.endswith(" node-a\n")
            (record,) = (tmp_path / STATE).glob("*/record.json")
            sockets = json.loads(record.read_text())["sockets"]
            with Sshd(home=tmp_path, host="login", node="node-b", hidden=sockets) as second:
                # From now on the name is the other node's.
                first.ssh_config.write_text(second.config_text("login") + nodes)
                first.link.cut()
                assert run_code(client, where) == before
                assert "Accepted publickey" in second.log.read_text()
                assert manager.is_alive()
                manager.shutdown_kernel()
        assert left_behind(tmp_path) == []
