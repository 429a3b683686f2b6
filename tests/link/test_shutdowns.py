"""Shutdown requests are taken out of what a client sends, however it is cut; the rest passes."""

from __future__ import annotations

import json
import random

import pytest

from sshpyk.link.shutdowns import LARGEST, Filter
from sshpyk.wire.zmtp import HANDSHAKE, message_of


def message(type: str, content: object = None, *buffers: bytes) -> bytes:
    parts = [{"msg_type": type, "msg_id": "1"}, {}, {}, content or {}]
    texts = [json.dumps(part).encode() for part in parts]
    return message_of([b"<IDS|MSG>", b"signature", *texts, *buffers])


OTHERS = [
    message("interrupt_request"),
    message("debug_request", {"text": "shutdown_request"}),
    message("comm_msg", {}, bytes(3 * LARGEST)),
    message_of([b"<IDS|MSG>", b"", b'"shutdown_request"', b"{}", b"{}", b"{}"]),
    message_of([b"<IDS|MSG>", b"", b'{"msg_type": "shutdown_request"', b"{}", b"{}", b"no JSON"]),
]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_pieces(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [HANDSHAKE, *chance.choices(OTHERS, k=4)]
    wanted = [chance.random() < 0.5 for _ in range(2)]
    whole = b"".join(pieces)
    for is_restart in wanted:
        request = message("shutdown_request", {"restart": is_restart})
        pieces.append(request)
        pieces += chance.choices(OTHERS, k=2)
        whole += b"".join(pieces[-2:])
    found: list[bool] = []
    filter = Filter(found.append)
    data = b"".join(pieces)
    passed = b""
    while data:
        size = chance.choice([1, 2, 9, 70, 5000, 10**6])
        if len(data) > LARGEST:
            size = max(size, 5000)
        passed += filter.feed(data[:size])
        data = data[size:]
    assert found == wanted
    assert passed == whole


def test_a_greeting_passes_at_once() -> None:
    """Each side waits for the beginning of the other's."""
    filter = Filter(lambda is_restart: None)
    assert filter.feed(HANDSHAKE[:10]) == HANDSHAKE[:10]
    assert filter.feed(HANDSHAKE[10:11]) == HANDSHAKE[10:11]
    assert filter.feed(HANDSHAKE[11:]) == HANDSHAKE[11:]


def test_a_command_before_a_request_passes() -> None:
    found: list[bool] = []
    request = message("shutdown_request", {"restart": True})
    assert Filter(found.append).feed(HANDSHAKE + request) == HANDSHAKE
    assert found == [True]


def test_what_is_encrypted_passes() -> None:
    curve = bytearray(HANDSHAKE[:64])
    curve[12:32] = b"CURVE".ljust(20, b"\0")
    data = bytes(curve) + random.Random(0).randbytes(1000)
    found: list[bool] = []
    assert Filter(found.append).feed(data) == data
    assert found == []
