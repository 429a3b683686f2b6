"""Servers for one test each; when it ends, nothing may be left of what it started."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from tests.lab.kernels import write_spec
from tests.lab.leftovers import Leftovers
from tests.lab.sshd import Sshd

#: Makes a server of the test's own; keywords as `Sshd` has them, and `masters` at the end.
NewServer = Callable[..., "Server"]


class Server(Sshd):
    """An sshd whose sessions live in `home`, with a look at what is left there."""

    def __init__(self, home: Path, *, masters: int = 1, **kwargs: Any) -> None:
        self.home = home
        self.masters = masters  # how many may stay
        super().__init__(home=home, **kwargs)
        self.leftovers = Leftovers(self, home)

    @property
    def logins(self) -> int:
        """How many connections have been let in."""
        return self.log.read_text().count("Accepted publickey")

    def starting_fails(self, expected: type[errors.SshpykError], **config: Any) -> str:
        """A start with `config`, which must fail as expected; what the user reads.

        That is the message in one line, whose layout tests/test_errors.py looks at, then the
        details. By then nothing is left on either side.
        """
        write_spec("failing", self, **config)
        with pytest.raises(expected) as caught:
            KernelManager(kernel_name="failing").start_kernel()
        self.leftovers.assert_clean(masters=self.masters)
        return f"{caught.value.line}\n{caught.value.details}".strip()


@pytest.fixture(autouse=True)
def own_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private directory for control sockets and forwards, with a short name."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


@pytest.fixture
def new_server(tmp_path: Path, own_runtime: Path) -> Iterator[NewServer]:
    """Makes servers; at the end each is looked at for leftovers, and closed."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []

        def make(home: Path | None = None, **kwargs: Any) -> Server:
            if home is None:
                home = tmp_path / f"home{len(servers) or ''}"
            home.mkdir(exist_ok=True)
            server = Server(home, **kwargs)
            stack.enter_context(server)
            servers.append(server)
            return server

        yield make
        for server in servers:
            server.leftovers.assert_clean(masters=server.masters)


@pytest.fixture
def server(new_server: NewServer) -> Server:
    """One plain server."""
    return new_server()
