"""Signatures of local clients, and who has asked what."""

from __future__ import annotations

import pytest
from jupyter_client.session import Session

from sshpyk.server import messages
from sshpyk.server.framing import FramingError, to_bytes, to_object
from sshpyk.server.messages import Requests, Signer, make

KEY = b"0123"


def header(id: str, type: str = "execute_request", **more: object) -> bytes:
    return to_bytes({"msg_id": id, "msg_type": type, **more})


def test_jupyter_reads_what_is_signed_here_and_the_reverse() -> None:
    session = Session(key=KEY, signature_scheme="hmac-sha256")
    signer = Signer(KEY, "hmac-sha256")
    _, parts = make("status", {"execution_state": "idle"}, session="s")
    frames = signer.pack([b"a", b"b"], [*parts, b"buffer"])
    identities, signed = session.feed_identities(frames)
    message = session.deserialize(signed)
    assert identities == [b"a", b"b"]
    assert message["content"] == {"execution_state": "idle"}
    assert [bytes(buffer) for buffer in message["buffers"]] == [b"buffer"]
    sent = [b"me", *session.serialize(session.msg("kernel_info_request")), b"x"]
    identities, got = signer.unpack(sent)
    assert identities == [b"me"]
    assert to_object(got[0])["msg_type"] == "kernel_info_request"
    assert got[4:] == [b"x"]


def test_others_are_not_believed() -> None:
    signer = Signer(KEY, "hmac-sha256")
    frames = Signer(b"another", "hmac-sha256").pack([b"a"], make("x", {}, session="s")[1])
    for wrong in (frames, frames[:4], [b"a", b"b"], []):
        with pytest.raises(FramingError):
            signer.unpack(wrong)
    assert Signer(b"", "hmac-sha256").pack([], [b"{}"] * 4)[1] == b""
    with pytest.raises(ValueError, match="signature scheme"):
        Signer(KEY, "none")


def test_who_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_REMEMBERED", 3)
    requests = Requests()
    first = requests.add("shell", [b"a"], header("1"))
    requests.add("shell", [b"b"], header("2", "comm_msg"))
    assert list(requests.open) == ["1"], "nobody answers a comm_msg"
    requests.answered(first)
    assert not requests.open
    assert requests.find("1") is first, "its input_request may come yet"
    beside = requests.add("shell", [b"a"], header("3", subshell_id="x"))
    assert not beside.in_order
    requests.add("shell", [b"a"], header("4"))
    assert requests.find("1") is None
    assert requests.find(["1"]) is None
    for wrong in (b"{}", b"[]", b"", b'{"msg_id": 1, "msg_type": "x"}'):
        with pytest.raises(FramingError):
            requests.add("shell", [], wrong)
