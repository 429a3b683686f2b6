"""Which URLs of what a kernel prints its clients are told."""

from __future__ import annotations

import socket
import sys

import pytest

from sshpyk.agent.printed import AGAIN, MOST_LOOKS, Printed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="who listens is Linux's to tell")


def test_what_listens_is_told_once() -> None:
    told: list[str] = []
    printed = Printed(told.append, lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://localhost:{server.getsockname()[1]}"
        printed.look_for(f"at {url}/a and {url}/b".encode(), 0.0)
        printed.look_for(f"at {url}/c".encode(), 1.0)
        assert told == [f"{url}/a"]
        assert printed.tick(2.0) is None
        printed.forget()
        printed.look_for(f"at {url}/c".encode(), 3.0)
        assert told == [f"{url}/a", f"{url}/c"]


def test_what_is_printed_before_it_listens() -> None:
    told: list[str] = []
    hurried: list[None] = []
    printed = Printed(told.append, lambda: hurried.append(None))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://localhost:{server.getsockname()[1]}/"
        for _ in range(3):
            printed.look_for(url.encode(), 0.0)
        assert (told, len(hurried)) == ([], 1)
        assert printed.tick(0.5) == AGAIN
        server.listen()
        assert printed.tick(AGAIN) is None
        assert told == [url]


def test_a_kernel_that_prints_any_number_of_them() -> None:
    printed = Printed(lambda url: None, lambda: None)
    for port in range(1, 1000):
        printed.look_for(b"http://localhost:%d" % port, 0.0)
    assert len(printed._again) <= MOST_LOOKS
    assert printed.tick(AGAIN) is None
