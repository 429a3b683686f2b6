"""Ten thousand lines printed during an outage reach a browser: Jupyter Server drops floods."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from traitlets.config import Config, Configurable

from sshpyk.link import pacing
from sshpyk.link.pacing import LEAST, SHARE, Limits, Pacer
from tests.faults.ways import Way, params
from tests.jupyter.server import Server

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY" + bytes(19)


def message(type: str, size: int = 100) -> bytes:
    """A message as ZMQ puts it on the wire."""
    parts = [b"topic", b"<IDS|MSG>", b"s" * 64, b'{"msg_type": "%s"}' % type.encode(), b"x" * size]
    data = b""
    for part in parts:
        more = part is not parts[-1]
        short = len(part) < 256
        length = len(part).to_bytes(1 if short else 8, "big")
        data += bytes([more + (0 if short else 2)]) + length + part
    return data


def through(pacer: Pacer, data: bytes, *, piece: int = 1 << 18) -> float:
    """Hand all of `data` on; the seconds that it took."""
    now = 100.0
    pacer.begin(now)
    offset = 0
    while offset < len(data):
        rest = data[offset : offset + piece]
        size = pacer.allow(rest, now)
        offset += size
        if size < len(rest):
            now += pacing.PORTION
    return now - 100.0


@pytest.mark.parametrize("piece", [1, 7, 1 << 18])
def test_messages_are_counted(piece: int) -> None:
    data = GREETING + READY + message("display_data") * 2000
    took = through(Pacer(Limits(1000, 1e6)), data, piece=piece)
    assert took == pytest.approx(2000 / (SHARE * 1000) - pacing.BURST, abs=0.2)


def test_only_text_counts_by_its_size() -> None:
    limits = Limits(1000, 1e6)
    plots = GREETING + READY + message("display_data", 1_000_000) * 20
    assert through(Pacer(limits), plots) == 0
    text = GREETING + READY + message("stream", 100_000) * 20
    assert through(Pacer(limits), text) == pytest.approx(2 / SHARE - pacing.BURST, abs=0.3)


def test_what_is_encrypted_counts_whole() -> None:
    curve = GREETING.replace(b"NULL\0", b"CURVE")
    data = curve + bytes(1_000_000)
    took = through(Pacer(Limits(1000, 1e9)), data)
    assert took == pytest.approx(1_000_000 / LEAST / (SHARE * 1000) - pacing.BURST, abs=0.2)


def test_no_limit_and_no_outage_hold_nothing_back() -> None:
    data = GREETING + READY + message("stream", 1000) * 10_000
    assert through(Pacer(Limits(0, 0)), data) == 0
    live = Pacer(Limits(1000, 1e6))
    assert live.allow(data, 1.0) == len(data)
    live.begin(2.0)
    live.allow(b"", 3.0)
    assert live.allow(data[len(GREETING + READY) :], 2.0 + pacing.QUIET) > len(data) / 2


def test_the_limits_are_the_servers_own() -> None:
    from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

    class App(Configurable):
        kernel_websocket_connection_class = ZMQChannelsWebsocketConnection

    class Manager(Configurable):
        pass

    assert pacing.of_server(Manager()) is None
    assert pacing.of_server(Manager(parent=App())) == Limits(1000, 1_000_000)
    config = Config({"ZMQChannelsWebsocketConnection": {"iopub_msg_rate_limit": 50}})
    assert pacing.of_server(Manager(parent=App(config=config))) == Limits(50, 1_000_000)
    config = Config({"ZMQChannelsWebsocketConnection": {"limit_rate": False}})
    assert pacing.of_server(Manager(parent=App(config=config))) is None


LINES = """
import time
begun = time.monotonic()
for number in range(10_000):
    print(number, flush=True)
    time.sleep(max(0.0, begun + number * {seconds} / 10_000 - time.monotonic()))
"""


@pytest.mark.sshd
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", params(), indirect=True)
def test_ten_thousand_lines_of_an_outage_reach_the_browser(way: Way, tmp_path: Path) -> None:
    link = way.link
    way.write_spec("far")
    with Server(tmp_path) as server:
        kernel = server.start_kernel("far")
        with server.connect(kernel) as notebook:
            back = threading.Timer(60, link.accept)

            def on_text(text: str) -> None:
                if text.startswith("0"):
                    link.refuse()
                    link.cut()
                    back.start()

            cell = notebook.run(LINES.format(seconds=60), on_text=on_text)
            back.join()
            assert cell.text.split() == [str(number) for number in range(10_000)]
            assert not [c for type, c in cell.outputs if c.get("name") == "stderr"]
        server.shut_down(kernel)
    assert "rate exceeded" not in server.log.read_text()
