"""sshpyk in JupyterLab: an extension of Jupyter Server, and what it brings into the browser.

`pip install` puts a file beside Jupyter Server's configuration that names this package, and the
front end (`labextension`) where JupyterLab looks for such. Nothing here is loaded elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """What Jupyter Server asks an extension for."""
    return [{"module": __name__}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Called by Jupyter Server as it starts."""
    from .extension import load  # which needs a Jupyter Server

    load(app)
