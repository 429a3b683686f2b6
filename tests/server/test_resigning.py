"""Each message of a connection gets the signature of the other key, however the bytes are cut."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.server.framing import FramingError
from sshpyk.server.messages import Signer
from sshpyk.server.resigning import LARGEST, Resigner
from sshpyk.wire.zmtp import GREETING, HANDSHAKE, SUBSCRIBE, Reader, message_of

CLIENT, KERNEL = (Signer(key, "hmac-sha256") for key in (b"client", b"kernel"))

FRAMES = st.binary(max_size=300)
MESSAGES = st.lists(
    st.tuples(
        st.lists(FRAMES.filter(lambda frame: frame != b"<IDS|MSG>"), max_size=2),
        st.lists(FRAMES, min_size=4, max_size=7),
    ),
    max_size=4,
)


def messages_in(data: bytes) -> list[list[bytes]]:
    """The frames of each message behind the handshake."""
    reader = Reader(keep=LARGEST)
    found: list[list[bytes]] = []
    offset = 0
    while offset < len(data):
        offset = reader.read(data, offset)
        if reader.has_ended:
            found.append(reader.frames)
    return found


@given(messages=MESSAGES, seed=st.integers())
def test_whatever_the_pieces(messages: list[tuple[list[bytes], list[bytes]]], seed: int) -> None:
    data = HANDSHAKE + b"".join(message_of(CLIENT.pack(*message)) for message in messages)
    chance = random.Random(seed)
    resigner = Resigner(CLIENT, KERNEL)
    passed = b""
    while data:
        size = chance.choice([1, 2, 9, 70, 5000])
        passed += resigner.feed(data[:size])
        data = data[size:]
    assert passed.startswith(HANDSHAKE)
    assert [KERNEL.unpack(frames) for frames in messages_in(passed)] == messages


@pytest.mark.parametrize(
    "message",
    [
        SUBSCRIBE,
        message_of([b"<IDS|MSG>", b"signature", b"{}", b"{}", b"{}", b"{}"]),
        message_of(Signer(b"other", "hmac-sha256").pack([], [b"{}"] * 4)),
        message_of([b"id", b"<IDS|MSG>"]),
    ],
)
def test_what_the_sender_has_not_signed_passes_as_it_is(message: bytes) -> None:
    """Else whoever has no key would have our signature."""
    data = GREETING + message
    assert Resigner(CLIENT, KERNEL).feed(data) == data


def test_a_message_without_end_is_not_kept() -> None:
    resigner = Resigner(CLIENT, KERNEL)
    with pytest.raises(FramingError, match="a message of"):
        resigner.feed(GREETING + b"\x02" + (LARGEST + 1).to_bytes(8, "big"))
