"""What is done to each parser with any bytes; and, as a program, atheris doing it.

python -m tests.security.fuzz TARGET [libFuzzer's options]
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sshpyk.agent.client import Client
from sshpyk.agent.door import Door
from sshpyk.agent.loop import Loop
from sshpyk.wire.attachment import Attachment
from sshpyk.wire.carrier import Carrier
from sshpyk.wire.control import MAX_MESSAGE, MessageReader
from sshpyk.wire.frames import DATA, HEADER, LIMITS, WELCOME, Frame, FrameReader, ProtocolError
from sshpyk.wire.stream import Stream

if TYPE_CHECKING:
    from sshpyk.wire.frames import Data

TOKEN = "t" * 64

#: Bytes of one frame that may wait for its end.
MOST_BUFFERED = HEADER.size + max(size for type, size in LIMITS.items() if type != DATA)


def pieces(data: bytes) -> list[bytes]:
    """`data` in pieces, whose sizes it says itself."""
    step = 1 + (data[0] if data else 0) % 64
    return [data[start : start + step] for start in range(0, len(data), step)]


def frames(data: bytes) -> None:
    """Whole or in pieces, the reader gives the same, and holds no more than one frame."""
    whole = _read([data])
    assert whole == _read(pieces(data))


def _read(parts: list[bytes]) -> list[tuple[object, ...]]:
    reader = FrameReader()
    seen: list[tuple[object, ...]] = []
    try:
        for part in parts:
            for frame in reader.feed(part):
                # Pieces of DATA are as good as the whole: byte by byte, all are alike.
                step = 1 if frame.type == DATA else len(frame.payload) + 1
                for n in range(0, len(frame.payload) or 1, step):
                    piece = frame.payload[n : n + step]
                    if piece or frame.type != DATA:
                        seen.append((frame.type, frame.stream, frame.position + n, piece))
            assert len(reader._buffer) <= MOST_BUFFERED
    except ProtocolError:
        return []  # what came before depends on the pieces
    return seen


def carriers(data: bytes) -> None:
    """Either end takes it or ends the carrier."""
    for is_client in (True, False):
        driver = _Driver()
        attachment = Attachment("a" * 32, driver, is_client=is_client)
        carrier = Carrier(driver, 1 << 16)
        attachment.add(carrier)
        try:
            for part in pieces(data):
                attachment.receive(carrier, carrier.feed(part), 0.0)
        except ProtocolError:
            continue


class _Driver:
    """Takes everything, at once."""

    def deliver(self, stream: Stream, now: float) -> None:
        while piece := stream.peek():
            stream.consume(len(piece), now)

    def message(self, message: object) -> None:
        pass

    def over(self, stream: Stream) -> None:
        pass

    def send(self, parts: list[Data]) -> bool:
        return True

    def close(self) -> None:
        pass

    abort = close


def messages(data: bytes) -> None:
    """Messages with a type, or the error."""
    reader = MessageReader()
    try:
        for part in pieces(data):
            for message in reader.feed(part):
                assert isinstance(message["type"], str)
            assert len(reader._buffer) <= MAX_MESSAGE
    except ProtocolError:
        pass


def hello(payload: bytes) -> None:
    """An agent lets it in, with the token, or says why not."""
    loop: Any = _Loop
    log: Any = _Quiet
    connection: Any = _Connection()
    try:
        Door(_Lobby(), loop, log, "/", TOKEN).greet(connection, payload)
    except ProtocolError:
        return
    assert TOKEN.encode() in payload
    assert connection.attachment is not None
    assert [frame.type for frame in connection.carrier.frames] == [WELCOME]


class _Loop(Loop):
    @staticmethod
    def hurry() -> None:
        pass


class _Lobby:
    """Has a client for everybody."""

    def client(self, id: str, *, known: bool) -> Client:
        loop: Any = _Loop
        limits: Any = None
        owner: Any = None
        return Client(id, owner, loop, limits, None)


class _Quiet:
    @staticmethod
    def line(text: str) -> None:
        assert TOKEN not in text


class _Carrier:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.streams: list[Stream] = []

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)


class _Connection:
    def __init__(self) -> None:
        self.attachment: object = None
        self.carrier = _Carrier()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": frames,
    "carriers": carriers,
    "messages": messages,
    "hello": hello,
}


def main() -> None:
    """Run atheris."""
    import atheris

    target = TARGETS[sys.argv.pop(1)]
    for function in gc.get_objects():
        # Not all that there is, which would take half a minute.
        if isinstance(function, FunctionType) and str(function.__module__).startswith("sshpyk."):
            atheris.instrument_func(function)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
