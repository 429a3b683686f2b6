"""Signs a kernel's messages anew for clients whose key is another than the kernel's. Pure.

A server gives each kernel a key of its own. One in the place of a kernel that is gone has another,
and clients that were there keep theirs.
"""

from __future__ import annotations

from ..link.rewriting import Rewriter
from ..wire.zmtp import message_of
from .framing import FramingError
from .messages import Signer

#: Bytes of a message that can be signed anew: it is kept until all of it is there.
LARGEST = 256 * 1024 * 1024


class Resigner(Rewriter):
    """One direction of a connection: what `sender` has signed, signed by `receiver`.

    What has no valid signature passes as it is, and the receiver refuses it. `feed` raises
    `FramingError` for a message of more than `LARGEST` bytes.
    """

    def __init__(self, sender: Signer, receiver: Signer) -> None:
        super().__init__(LARGEST)
        self._sender = sender
        self._receiver = receiver

    def feed(self, data: bytes) -> bytes:
        passed = super().feed(data)
        if self._reader.size > LARGEST:
            raise FramingError(f"a message of {self._reader.size} bytes")
        return passed

    def _rewrite(self, message: bytes, frames: list[bytes]) -> bytes:
        try:
            identities, parts = self._sender.unpack(frames)
        except FramingError:
            return message
        return message_of(self._receiver.pack(identities, parts))
