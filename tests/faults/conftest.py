"""The fault suite's fixtures."""

from __future__ import annotations

from tests.faults.ways import way

__all__ = ["way"]
