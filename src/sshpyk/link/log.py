"""Log lines with a grammar: `<` in, `>` out, `=` state, `!` trouble; each names its kernel."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any


class KernelLog(logging.LoggerAdapter[Any]):
    """Puts the kernel's id and host before every line."""

    def __init__(self, logger: Any, kernel_id: str, host: str) -> None:
        super().__init__(logger, {})
        self._tag = f"[{kernel_id[:8]} {host}]"

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        return f"{self._tag} {msg}", kwargs
