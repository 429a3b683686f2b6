"""What is done to each parser with any bytes; and, as a program, atheris doing it.

python -m tests.security.fuzz TARGET [libFuzzer's options]
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

from sshpyk.agent.door import Door
from sshpyk.agent.loop import Loop
from sshpyk.wire.carrier import Attachment, Carrier
from sshpyk.wire.control import MAX_MESSAGE, MessageReader
from sshpyk.wire.frames import DATA, HEADER, LIMITS, Frame, FrameReader, ProtocolError
from sshpyk.wire.stream import Stream

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
    client = Attachment("a" * 32)
    client.open("agent")
    for attachment in (client, Attachment("b" * 32)):
        carrier = Carrier(attachment if attachment is client else None)
        carrier.attachment = attachment
        try:
            for part in pieces(data):
                for event in carrier.receive(part, 0.0):
                    if isinstance(event, Stream):
                        while piece := event.peek():
                            event.consume(len(piece), 0.0)
                carrier.drain(0.0, 1 << 16)
        except ProtocolError:
            continue


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
    agent: Any = SimpleNamespace(loop=Loop, token=TOKEN, clients={}, limits=None, log=_Quiet)
    connection: Any = _Connection()
    try:
        Door(agent).greet(connection, payload)
    except ProtocolError:
        return
    assert TOKEN.encode() in payload
    assert connection.client is not None
    assert [frame.type for frame in connection.carrier.frames] == [2]


class _Quiet:
    @staticmethod
    def line(text: str) -> None:
        assert TOKEN not in text


class _Carrier:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.attachment: Attachment | None = None

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)


class _Connection:
    def __init__(self) -> None:
        self.client: object = None
        self.generation = 0
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
