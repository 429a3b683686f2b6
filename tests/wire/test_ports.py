"""What a port's stream carries, and the URLs that a kernel prints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.wire import ports
from sshpyk.wire.frames import DATA, Frame, ProtocolError
from sshpyk.wire.ports import BYTES, END, RESET, Incoming, Target, record, reset, target_of, urls_in
from sshpyk.wire.stream import Stream


@pytest.mark.parametrize("text", ["1", "8787", "65535", "/tmp/a b.sock", "any 80", "any /x", "/ä"])
def test_targets(text: str) -> None:
    target = Target.parse(text)
    assert str(target) == text
    found = target_of(target.channel)
    assert found is not None
    assert (found.address, found.is_anyones) == (target.address, target.is_anyones)


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536", "000080", "-1", "+1", "²", "80 ", "a", "./x", "/a\0", "/a\nb", "any any 1"],
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match="is no "):
        Target.parse(text)
    assert target_of("port " + text) is None
    assert target_of("shell") is None
    with pytest.raises(ValueError, match="is no path"):
        Target.parse("/" + 107 * "ä")


def arrived(*pieces: bytes) -> Incoming:
    """What came on a stream, in these pieces."""
    stream = Stream(1, "port 1")
    position = 0
    for piece in pieces:
        stream.receive(Frame(DATA, 1, position, piece), 0.0)
        position += len(piece)
    return Incoming(stream)


def read(incoming: Incoming, most: int = 1 << 20) -> bytes:
    """All bytes that there are, so many at a time."""
    data = b""
    while piece := incoming.peek(0.0):
        data += piece[:most]
        incoming.consume(len(piece[:most]), 0.0)
    return data


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    st.sampled_from(["end", "reset", "both", "neither"]),
    st.integers(1, 30),
    st.integers(1, 7),
)
def test_records_in_any_pieces(sent: list[bytes], how: str, size: int, most: int) -> None:
    whole = b"".join(record(BYTES, data) for data in sent)
    if how in ("end", "both"):
        whole += record(END)
    if how in ("reset", "both"):
        whole += reset(ports.BROKEN, "as it happens")
    incoming = arrived(*(whole[at : at + size] for at in range(0, len(whole), size)))
    assert read(incoming, most) == b"".join(sent)
    assert incoming.has_ended == (how in ("end", "both"))
    assert incoming.reset == ((ports.BROKEN, "as it happens") if how in ("reset", "both") else None)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0\1x",
        b"\4\0\0\0\1x",
        b"\1\0\0\0\0",
        b"\1\xff\xff\xff\xffx",
        b"\2\0\0\0\1x",
        b"\3\0\0\xff\xffx",
        record(RESET, b"unheard-of"),
        2 * record(END),
        record(END) + record(BYTES, b"x"),
        2 * reset(ports.NOBODY),
    ],
)
def test_what_no_peer_sends(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(arrived(data))


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("Dashboard: http://127.0.0.1:8787/status", ["http://localhost:8787/status"]),
        ("TensorBoard at http://localhost:6006/ (Press", ["http://localhost:6006/"]),
        ("  URL: http://0.0.0.0:8501\n", ["http://localhost:8501"]),
        ("* Running on local URL:  http://[::1]:7860.", ["http://localhost:7860"]),
        (
            "https://localhost:1/?a=b#c, http://[::]:2",
            ["https://localhost:1/?a=b#c", "http://localhost:2"],
        ),
        (
            '<a href="http://127.0.0.1:8787/status" target="_blank">',
            ["http://localhost:8787/status"],
        ),
        ("http://localhost:80 and http://localhost:80", ["http://localhost:80"]),
        ("http://localhost/ http://localhost:0/ http://localhost:65536/", []),
        ("http://localhost:80evil.example/ http://localhost:8@evil.example", []),
        ("http://localhost.evil.example:80/ http://10.0.0.1:80/ ftp://localhost:80", []),
        ("http://localhost:", []),
        ("id=tensorboard-frame-1a> const port = 6006;\n if (port)", ["http://localhost:6006/"]),
        ("id=tensorboard-frame-1a> const port = 0; or port = 6006;", []),
        ("http://localhost:80/ä", []),
        ("://", []),
    ],
)
def test_urls(text: str, urls: list[str]) -> None:
    content = json.dumps({"name": "stdout", "text": text}, ensure_ascii=False).encode()
    assert urls_in(content) == urls
    for url in urls:
        assert f":{ports.port_of(url)}" in url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1:80",
        "x http://localhost:80",
        "http://a:80",
        "http://localhost:80/\x1b[2J",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="no URL"):
        ports.port_of(url)


def test_not_more_urls_than_a_person_reads() -> None:
    text = b" ".join(b"http://localhost:%d" % port for port in range(1000, 2000))
    assert len(urls_in(text)) == ports.MOST_URLS
