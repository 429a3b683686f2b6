"""Log lines with a grammar: `<` in, `>` out, `=` state, `!` trouble; each names its kernel."""

from __future__ import annotations

import logging
from typing import Any


class KernelLog(logging.LoggerAdapter[Any]):
    """Puts the kernel's id and host before every line."""

    def __init__(self, logger: Any, kernel_id: str, host: str) -> None:
        super().__init__(logger, {})
        self._tag = f"[{kernel_id[:8]} {host}]"

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        # As an argument, not as part of the format: a host's name may have a % in it.
        if self.isEnabledFor(level):
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.logger.log(level, f"%s {msg}", self._tag, *args, **kwargs)
