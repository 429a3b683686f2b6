"""One direction of a client's connection, message by message, some of which become others. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..wire.zmtp import GREETING, Reader


class Rewriter(ABC):
    """What goes on of the bytes of one direction, from the first on.

    Messages of more than `largest` bytes, with their frames' heads, pass as they come. With CURVE
    nothing can be seen, and all passes.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._reader = Reader(keep=largest)
        # Bytes of the greeting, which pass at once: each side waits for the beginning of the
        # other's.
        self._greeting = len(GREETING)
        self._held = bytearray()  # of a message that has not ended

    @abstractmethod
    def _rewrite(self, message: bytes, frames: list[bytes]) -> bytes:
        """What goes on in place of a message, which has these frames."""

    def feed(self, data: bytes) -> bytes:
        """`data` has come; what goes on."""
        reader = self._reader
        passed = bytearray(data[: self._greeting])
        offset = reader.read(data[: self._greeting])
        self._greeting -= offset
        while offset < len(data):
            end = reader.read(data, offset)
            self._held += data[offset:end]
            offset = end
            if reader.has_ended and reader.size <= self._largest:
                begin = len(self._held) - reader.size  # commands may be before it
                passed += self._held[:begin]
                passed += self._rewrite(bytes(self._held[begin:]), reader.frames)
            elif reader.is_between or reader.size > self._largest:
                passed += self._held
            else:
                continue  # the rest is to come
            self._held.clear()
        return bytes(passed)
