"""A Jupyter Server behind a link, that a file's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sshpyk.server import transport
from tests.jupyter.server import Server
from tests.lab.link import Link
from tests.server.servers import remote, until_none


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server, as on another machine."""
    with remote(tmp_path_factory.mktemp("far")) as server:
        yield server


@pytest.fixture
def link(far: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    """The way to it. In the end the server must have no kernel any more."""
    monkeypatch.setenv("SERVER_TOKEN", far.token)
    monkeypatch.setattr(transport, "IDLE", 0.1)
    with Link(far.port) as way:
        yield way
        until_none(far)


@pytest.fixture
def url(link: Link) -> str:
    """The server's URL, through the link."""
    return f"http://127.0.0.1:{link.port}/"
