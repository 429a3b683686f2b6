"""Whatever bytes come: every parser ends with frames, messages, or one kind of error."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sshpyk import errors
from sshpyk.agent import kernelspecs
from sshpyk.agent.boot import MAGIC
from sshpyk.jupyter import persistence
from sshpyk.transport import answers, jobs
from sshpyk.wire.control import MAX_MESSAGE, MessageReader
from sshpyk.wire.frames import CHUNK, HEADER, ProtocolError
from tests.security import fuzz

#: Seconds that atheris has for each target. In two it shows that the targets run and what it finds
#: at once; who looks for more gives it minutes.
ATHERIS = float(os.environ.get("SSHPYK_FUZZ_SECONDS", "2"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=20,
)
PIECES = st.lists(st.binary(max_size=200), max_size=20)
FRAMES = st.builds(
    lambda type, stream, position, size, payload: (
        HEADER.pack(type, stream, position, size) + payload
    ),
    st.integers(0, 12),
    st.sampled_from([0, 1, 2, 2**32 - 1]) | st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2**24, 2**64 - 1]) | st.integers(0, 2**64 - 1),
    st.sampled_from([0, 3, CHUNK, CHUNK + 1, 2**32 - 1]) | st.integers(0, 100),
    st.binary(max_size=100),
)
quick = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@given(PIECES | st.lists(FRAMES, max_size=20))
@quick
def test_the_frame_reader(pieces: list[bytes]) -> None:
    fuzz.frames(b"".join(pieces))


@given(st.lists(FRAMES, max_size=30))
@quick
def test_both_carriers(pieces: list[bytes]) -> None:
    fuzz.carriers(b"".join(pieces))


@given(PIECES)
@example([b'{"type":"bound","pid":' + b"9" * 5000 + b"}\n"])
@example([b"[" * 100_000 + b"\n"])
@quick
def test_the_message_reader(pieces: list[bytes]) -> None:
    fuzz.messages(b"".join(pieces))


@given(JSON)
@quick
def test_messages_that_are_json(value: object) -> None:
    fuzz.messages(json.dumps(value).encode() + b"\n")


def hello(**changed: Any) -> bytes:
    good: dict[str, Any] = {
        "version": 1,
        "token": fuzz.TOKEN,
        "attachment": "a" * 32,
        "generation": 1,
        "oldest": 0,
        "known": False,
        "nonce": "n",
    }
    return json.dumps({**good, **changed}).encode()


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
@quick
def test_hellos(payload: bytes) -> None:
    fuzz.hello(payload)


@given(
    st.sampled_from(["version", "token", "attachment", "generation", "oldest", "known", "nonce"]),
    JSON,
)
@quick
def test_hellos_with_one_field_wrong(name: str, value: object) -> None:
    fuzz.hello(hello(**{name: value}))


@given(JSON)
@quick
def test_persistence_files_of_any_json(value: object) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        json.dump(value, file)
        file.flush()
        with pytest.raises(errors.SshpykError):
            persistence.read(file.name)


@given(JSON)
@quick
def test_answers_of_any_json(value: Any) -> None:
    with pytest.raises(errors.StrangeAgent):
        answers.kernel("host", value)
    if isinstance(value, dict):
        for job in answers.SHAPES:
            with pytest.raises(errors.StrangeAgent):
                answers.check("host", job, value)
        assert str(errors.from_agent("host", value))


@given(JSON, JSON)
@quick
def test_errors_of_any_json(kind: Any, fields: Any) -> None:
    fields = fields if isinstance(fields, dict) else {"path": fields, "names": fields}
    for name in (*errors.FROM_AGENT, kind):
        text = str(errors.from_agent("host", {**fields, "error": name}))
        assert text
        assert "\x1b" not in text


@given(JSON)
@quick
def test_kernelspecs_of_any_json(value: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name, "kernel.json").write_text(json.dumps(value))
        assert kernelspecs.load(name) is None or isinstance(value, dict)


@given(st.binary(max_size=300))
@example(b"{}")
@example(b"[" * 100_000)
@quick
def test_lines_of_a_session(line: bytes) -> None:
    for text in (line, MAGIC + line):
        answer = jobs._read(text)
        assert answer is None or isinstance(answer, dict)


def test_what_a_carrier_holds_has_a_limit() -> None:
    """Of half a frame, and of a message without end: no more than is stated."""
    tracemalloc.start()
    try:
        reader = MessageReader()
        with pytest.raises(ProtocolError, match="more than"):  # noqa: PT012
            for _ in range(2 * MAX_MESSAGE // 65536):
                reader.feed(b"x" * 65536)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_MESSAGE
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(fuzz.TARGETS))
def test_atheris(target: str, tmp_path: Path) -> None:
    """Coverage-guided, for `SSHPYK_FUZZ_SECONDS` each, where atheris is installed."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed here (it is for some Pythons on Linux only)")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.security.fuzz",
            target,
            f"-max_total_time={ATHERIS:g}",
            "-timeout=10",
            "-rss_limit_mb=1024",
            f"-artifact_prefix={tmp_path}/",
        ],
        capture_output=True,
        text=True,
        timeout=ATHERIS + 60,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert "DONE" in result.stderr or "Done" in result.stderr
