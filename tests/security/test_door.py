"""The agent's door: who connects and has no token, or speaks wrongly. And the client's own."""

from __future__ import annotations

import _operator
import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.agent import connections
from sshpyk.agent import door as agent_door
from sshpyk.common import peers
from sshpyk.link.log import KernelLog
from sshpyk.link.streams import Streams
from sshpyk.wire.frames import (
    ACK,
    DATA,
    HEADER,
    HELLO,
    OPEN,
    REFUSED,
    WELCOME,
    Frame,
    FrameReader,
    ProtocolError,
)
from sshpyk.wire.zmtp import GREETING
from tests.lab.dialers import DirectoryDialer
from tests.lab.kernels import STATE, run_code, started, write_spec
from tests.lab.sshd import Sshd
from tests.security.conftest import Intruder

SOURCE = Path(str(agent_door.__file__)).read_text()

#: Seconds for an answer on loopback.
TIMEOUT = 20.0


@dataclass
class Door:
    """A kernel behind loopback TCP, because its server forwards no unix sockets."""

    manager: KernelManager
    client: BlockingKernelClient
    port: int
    token: str

    def dial(self, *frames: Frame | bytes) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT)
        sock.sendall(b"".join(f if isinstance(f, bytes) else f.encode() for f in frames))
        return sock

    def answer(self, *frames: Frame | bytes) -> Frame | None:
        """What comes back first; None where the connection ends without a word."""
        with self.dial(*frames) as sock:
            return heard(sock)

    def hello(self, **fields: object) -> Frame:
        content = {
            "version": 1,
            "token": self.token,
            "attachment": "a" * 32,
            "generation": 1,
            "oldest": 0,
            "known": False,
            "nonce": "n" * 32,
            **fields,
        }
        return Frame(HELLO, payload=json.dumps(content).encode())


def heard(sock: socket.socket) -> Frame | None:
    reader = FrameReader()
    try:
        while data := sock.recv(65536):
            if frames := reader.feed(data):
                return frames[0]
    except ConnectionError:
        pass
    return None


@pytest.fixture(scope="module")
def door(open_directory: Path) -> Iterator[Door]:
    home = open_directory / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RUNTIME", "DATA", "CONFIG"):
            patch.setenv(f"JUPYTER_{name}_DIR", str(open_directory / name.lower()))
        with Sshd(home=home, options=["AllowStreamLocalForwarding no"]) as server:
            write_spec("tcp", server)
            with started("tcp") as (manager, client):
                (path,) = (home / STATE).glob("*/record.json")
                record = json.loads(path.read_text())
                yield Door(manager, client, record["listening"]["agent"], record["token"])


@pytest.mark.sshd
def test_the_token_opens_and_the_agent_proves_itself(door: Door) -> None:
    answer = door.answer(door.hello())
    assert answer is not None
    assert (answer.type, answer.payload) == (WELCOME, peers.proof(door.token, "n" * 32))


HELLOS: dict[str, tuple[dict[str, object], str]] = {
    "no token": ({"token": ""}, "wrong token"),
    "a part of it": ({"token": "PART"}, "wrong token"),
    "a number": ({"token": 5}, "none"),
    "not ASCII": ({"token": "ü"}, "none"),
    "another version": ({"version": 99}, "version 99 of the protocol; this is 1"),
    "a version of a wrong kind": ({"version": [1]}, "version"),
    "no attachment": ({"attachment": ""}, "none"),
    "an endless attachment": ({"attachment": "a" * 65}, "none"),
    "an attachment that is no text": ({"attachment": {}}, "none"),
    "a generation that is no number": ({"generation": "1"}, "none"),
    "a generation that is true": ({"generation": True}, "none"),
    "an oldest that is no number": ({"oldest": 0.5}, "none"),
    "a nonce that is no text": ({"nonce": 1}, "none"),
    "an attachment that is no more": (
        {"attachment": "b" * 32, "known": True},
        "an attachment that is no more",
    ),
}


@pytest.mark.sshd
@pytest.mark.parametrize("name", HELLOS)
def test_hellos_that_are_refused(door: Door, name: str) -> None:
    fields, why = HELLOS[name]
    if fields.get("token") == "PART":
        fields = {"token": door.token[:-1]}
    answer = door.answer(door.hello(**fields))
    assert answer is not None
    assert answer.type == REFUSED
    assert why in bytes(answer.payload).decode()
    assert door.token not in bytes(answer.payload).decode()


RAW: dict[str, bytes] = {
    "no JSON": Frame(HELLO, payload=b"hello").encode(),
    "JSON of a wrong shape": Frame(HELLO, payload=b"[1]").encode(),
    "deep JSON": Frame(HELLO, payload=b"[" * 4000).encode(),
    "a hello without end": HEADER.pack(HELLO, 0, 0, 2**32 - 1),
    "an impossible type": HEADER.pack(99, 0, 0, 0),
    "data before the hello": HEADER.pack(5, 0, 0, 3) + b"abc",
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nothing but ones": b"\xff" * 1000,
}


@pytest.mark.sshd
@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_hello(door: Door, name: str) -> None:
    answer = door.answer(RAW[name])
    assert answer is not None
    assert answer.type == REFUSED, "it says what was wrong"
    assert answer.payload


@pytest.mark.sshd
def test_another_user_is_not_even_heard(door: Door, intruder: Intruder) -> None:
    code = (
        "import socket, sys\n"
        "s = socket.socket(); s.settimeout(20); s.connect(('127.0.0.1', int(sys.argv[1])))\n"
        "try:\n    s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(100))\n"
        "except ConnectionError:\n    print('reset')"
    )
    for hello in (door.hello(token="guessed"), door.hello()):  # even one who has the token
        assert intruder.run(code, door.port, hello.encode().hex()) in ("b''", "reset")


@pytest.mark.sshd
def test_another_user_is_refused_by_the_local_tcp_sockets(door: Door, intruder: Intruder) -> None:
    """Jupyter's own default, on which ZMQ would tell everybody what a kernel publishes."""
    code = (
        "import socket, sys\n"
        "s = socket.socket(); s.settimeout(20); s.connect(('127.0.0.1', int(sys.argv[1])))\n"
        "try:\n    s.sendall(b'\\xff' + bytes(8) + b'\\x7f\\x03'); print(s.recv(100))\n"
        "except ConnectionError:\n    print('reset')"
    )
    for channel in ("shell", "iopub", "stdin", "control", "hb"):
        port = getattr(door.manager, f"{channel}_port")
        assert intruder.run(code, port) in ("b''", "reset")
    with socket.create_connection(("127.0.0.1", door.manager.iopub_port), TIMEOUT) as sock:
        sock.sendall(b"\xff" + bytes(8) + b"\x7f\x03")
        assert sock.recv(100), "the owner is answered"


@pytest.mark.sshd
def test_requests_without_the_key_do_nothing(door: Door, tmp_path: Path) -> None:
    client = BlockingKernelClient()
    client.load_connection_info(door.manager.get_connection_info())
    client.session.key = b"guessed"
    client.start_channels()
    try:
        client.execute(f"open({str(tmp_path / 'steered')!r}, 'w')")
        assert run_code(door.client, "print('after it')") == "after it\n"
    finally:
        client.stop_channels()
        client.context.term()
    assert not (tmp_path / "steered").exists()


@pytest.mark.sshd
def test_strangers_have_a_time_and_a_number(door: Door) -> None:
    """So many may wait with no hello, so long; the owner's kernel works meanwhile and after."""
    begun = time.monotonic()
    strangers = [door.dial() for _ in range(agent_door.MAX_STRANGERS + 8)]
    too_many = [sock for sock in strangers[-8:] if heard(sock) is None]
    assert len(too_many) == 8, "more than so many are closed at once"
    assert time.monotonic() - begun < connections.HELLO_WITHIN
    assert run_code(door.client, "print('as ever')") == "as ever\n"
    answers = [heard(sock) for sock in strangers[:-8]]
    took = time.monotonic() - begun
    for sock in strangers:
        sock.close()
    assert {frame.payload for frame in answers if frame} == {b"no hello came"}
    assert connections.HELLO_WITHIN - 1 < took < connections.HELLO_WITHIN + 30
    answer = door.answer(door.hello())
    assert answer is not None
    assert answer.type == WELCOME


@pytest.mark.sshd
def test_wrong_tokens_are_counted(door: Door) -> None:
    """Last, because the door is closed for a minute after it. Who is in stays in."""
    for _ in range(agent_door.MAX_TRIES):
        answer = door.answer(door.hello(token="0" * 64))
        assert answer is not None
        if b"too many" in answer.payload:
            break
    else:
        answer = door.answer(door.hello())
        assert answer is not None
    assert b"too many wrong tokens" in answer.payload
    answer = door.answer(door.hello())
    assert answer is not None
    assert b"too many wrong tokens" in answer.payload, "not even the right one is looked at"
    assert run_code(door.client, "print('as ever')") == "as ever\n"


def test_tokens_are_compared_in_constant_time() -> None:
    """By the function that `hmac.compare_digest` is where there is no OpenSSL, and by no other."""
    assert vars(agent_door)["compare_digest"] is _operator._compare_digest
    compared = re.findall(r".*[!=]= ?self\._token.*|.*self\._token ?[!=]=.*", SOURCE)
    assert compared == []
    assert SOURCE.count("compare_digest(token, self._token)") == 1


# -- the client's side -----------------------------------------------------------------------------


def squat(path: str, say: bytes, got: list[bytes]) -> threading.Thread:
    """Wait at `path`, where an agent was, for its client."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(TIMEOUT)

    def serve_one() -> None:
        with (
            listener,
            listener.accept()[0] as sock,
            contextlib.suppress(ConnectionError),  # it may be aborted with something unread
        ):
            sock.settimeout(TIMEOUT)
            got.append(sock.recv(65536))
            sock.sendall(say)
            while data := sock.recv(65536):
                got.append(data)

    thread = threading.Thread(target=serve_one)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "say",
    [
        Frame(WELCOME, payload=b"x" * 32).encode(),
        Frame(WELCOME).encode(),
        Frame(5, 0, 0, b'{"type":"bound","pid":1}\n').encode(),
        Frame(8, 0).encode(),
        b"\0" * 40,
        b"SSH-2.0-other\r\n",
        HEADER.pack(WELCOME, 0, 0, 2**31),
    ],
    ids=["wrong proof", "no proof", "data", "gone", "zeros", "text", "endless welcome"],
)
def test_who_can_not_prove_to_be_the_agent_gets_no_more_than_a_hello(
    short_tmp: Path, say: bytes
) -> None:
    class Owner:
        def on_message(self, message: dict[str, Any]) -> None:
            raise AssertionError("a stranger was believed")

        def on_heard(self) -> None:
            pass

        def on_broken(self) -> None:
            pass

    got: list[bytes] = []
    got_shell: list[bytes] = []
    threads = [
        squat(str(short_tmp / "agent"), say, got),
        squat(str(short_tmp / "shell"), say, got_shell),
    ]

    async def connect() -> None:
        streams = Streams(Owner(), KernelLog(logging.getLogger("test"), "id", "host"), "t" * 64)
        streams.say("start", key="the key of the kernel")
        streams.greets = True
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(short_tmp / "local"))
        local.setblocking(False)
        streams.listen({"shell": local})
        try:
            assert not await streams.connect(DirectoryDialer(short_tmp), TIMEOUT)
        finally:
            streams.close()

    with pytest.raises(ProtocolError):
        asyncio.run(connect())
    for thread in threads:
        thread.join(TIMEOUT)
    # A hello, and which stream it is for; for a channel a constant, too.
    hello, *others = FrameReader().feed(b"".join(got))
    assert hello.type == HELLO
    assert [(f.type, f.position, f.payload) for f in others] == [(OPEN, 0, b"agent")]
    assert b"the key of the kernel" not in b"".join(got)
    hello, *others = FrameReader().feed(b"".join(got_shell))
    assert hello.type == HELLO
    assert [f.payload for f in others if f.type in (OPEN, DATA)] == [b"shell", GREETING]
    assert {f.type for f in others} <= {OPEN, DATA, ACK}
