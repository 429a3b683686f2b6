"""A real JupyterHub with its proxy, whose spawner runs users' servers as processes here."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.jupyter.server import ABSENT, ask
from tests.lab.daemon import Daemon

CONFIG = """
import os, sys
from jupyterhub.spawner import SimpleLocalProcessSpawner

class Spawner(SimpleLocalProcessSpawner):
    async def start(self):
        if self.user_options.get("size") == "huge":
            error = RuntimeError("quota")
            error.jupyterhub_message = "Your quota is used up."
            raise error
        return await super().start()

    async def progress(self):
        yield {"progress": 40, "message": f"size {self.user_options.get('size')}"}

c.JupyterHub.bind_url = os.environ["HUB_URL"]
c.JupyterHub.hub_port = int(os.environ["HUB_PORT"])
c.ConfigurableHTTPProxy.api_url = os.environ["HUB_PROXY"]
c.ConfigurableHTTPProxy.pid_file = "proxy.pid"
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = "cookie"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.allow_named_servers = True
c.JupyterHub.spawner_class = Spawner
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.Spawner.home_dir_template = os.path.join(os.getcwd(), "home", "{username}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.environment = {
    name: os.path.join(os.getcwd(), name.lower())
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
}
c.JupyterHub.services = [{"name": "tests", "api_token": os.environ["HUB_TOKEN"]}]
c.JupyterHub.load_roles = [
    {"name": "tests", "scopes": ["admin:users", "admin:servers", "tokens"], "services": ["tests"]}
]
"""


class Hub(Daemon):
    """A Hub on free loopback ports, below /base/. `port` is its proxy's."""

    def __init__(self, root: Path) -> None:
        if shutil.which("configurable-http-proxy") is None:
            pytest.skip("there is no configurable-http-proxy here (npm installs it)")
        self.port, hub_port, api_port = _free_ports(3)
        self._token = secrets.token_hex(16)
        self._root = root
        (root / "config.py").write_text(CONFIG)
        environment = {
            **os.environ,
            "PYTHONPATH": ABSENT,
            "HUB_URL": f"http://127.0.0.1:{self.port}/base/",
            "HUB_PORT": str(hub_port),
            "HUB_PROXY": f"http://127.0.0.1:{api_port}",
            "HUB_TOKEN": self._token,
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(16),
        }
        super().__init__(
            [sys.executable, "-m", "jupyterhub", "-f", "config.py"],
            cwd=root,
            env=environment,
            log=root / "hub.log",
            is_up=lambda line: "is now running at" in line,
        )

    @property
    def url(self) -> str:
        """Where people find the Hub."""
        return f"http://127.0.0.1:{self.port}/base/"

    def call(self, method: str, path: str, content: object = None) -> tuple[int, Any]:
        """A request below the Hub's own interface: the status and the answer."""
        return ask(self.port, method, f"/base/hub/api/{path}", self._token, content)

    def add_user(self, name: str) -> str:
        """Make a user; a token of theirs."""
        status, answer = self.call("POST", f"users/{name}")
        assert status == 201, answer
        return self.token_of(name)

    def token_of(self, name: str, **content: Any) -> str:
        """Another token of a user."""
        status, answer = self.call("POST", f"users/{name}/tokens", content)
        assert status in (200, 201), answer
        token: str = answer["token"]
        return token

    def servers_of(self, name: str) -> dict[str, Any]:
        """The user's servers that run, by their names."""
        _, user = self.call("GET", f"users/{name}")
        servers: dict[str, Any] = user["servers"]
        return servers

    def home(self, name: str) -> Path:
        """A user's home directory."""
        return self._root / "home" / name

    def start(self, name: str) -> None:
        """Start a user's default server."""
        status, answer = self.call("POST", f"users/{name}/server")
        assert status in (201, 202), answer

    def stop(self, name: str, server: str = "") -> None:
        """Stop a user's server, as a culler would; the default one unless it is named."""
        path = f"servers/{server}" if server else "server"
        status, answer = self.call("DELETE", f"users/{name}/{path}")
        assert status in (202, 204), answer


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in made]
