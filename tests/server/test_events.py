"""Server-sent events, however they come."""

from __future__ import annotations

from sshpyk.server.events import LONGEST, Events


def test_pieces_and_nonsense() -> None:
    told = b'data: {"a": 1}\r\n\r\n: keepalive\n\ndata:{"b": 2}\n\ndata: [1]\ndata: {\nevent: x\n'
    whole = Events().feed(told)
    assert whole == [{"a": 1}, {"b": 2}]
    parser = Events()
    assert [e for byte in told for e in parser.feed(bytes([byte]))] == whole


def test_a_line_without_end_fills_no_memory() -> None:
    parser = Events()
    for _ in range(100):
        assert parser.feed(b"data: " + b"x" * LONGEST) == []
        assert len(parser._rest) <= LONGEST
    assert parser.feed(b'data: {"cut": 1}\ndata: {"a": 1}\n') == [{"a": 1}]
    assert parser.feed(b"data: " + b"[" * (LONGEST - 10) + b"\n") == []
