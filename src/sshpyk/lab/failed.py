"""Mends what keeps a Jupyter Server from ending once the start of a kernel has failed.

jupyter_client (8.10, as tried) keeps a kernel that has not started among those that are about to
(`_pending_kernels`). A server that is told to stop, by Ctrl+C or a signal, shuts all of these down,
gets a 404 of its own for that one, and goes on running.
"""

from __future__ import annotations

from functools import partial
from typing import Any


def forget(manager: Any) -> None:
    """Have the server's `manager` forget a kernel whose start fails just now, or has failed."""
    pending = getattr(manager, "_pending_kernels", {})
    for kernel_id, task in list(pending.items()):
        task.add_done_callback(partial(_forget, manager, pending, kernel_id))


def _forget(manager: Any, pending: dict[str, Any], kernel_id: str, task: Any) -> None:
    if kernel_id not in manager and pending.get(kernel_id) is task:
        del pending[kernel_id]
