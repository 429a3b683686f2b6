"""JSON without `json` is the same JSON, faults included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshpyk.link import package
from sshpyk.link.bootstrap import FIRST_LINE
from sshpyk.wire.quickjson import dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_values(value: object) -> None:
    text = dumps(value)
    assert text == json.dumps(value)
    assert loads(text) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=1) + "\n") == value


@given(st.text() | st.text('[]{}",:0123456789.eE+-truefalsn \n\\u'))
def test_texts(text: str) -> None:
    assert outcome(loads, text) == outcome(json.loads, text)


def outcome(parse: Callable[[str], object], text: str) -> str:
    """What comes of a text, be it an error."""
    try:
        return repr(parse(text))
    except (ValueError, RecursionError) as error:
        return repr(error)


def test_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        dumps(object())


#: Stands in for os.fork: the process goes on as the agent, up to where the kernel's is made.
FORK = """
import os, sys
forks = []
def fork():
    forks.append(None)
    if len(forks) == 2:
        os.write(2, " ".join(sorted(sys.modules)).encode())
        raise OSError("that will do")
    return 0
os.fork = fork
"""


def test_a_launch_imports_nothing_slow_before_the_kernel_is_there(tmp_path: Path) -> None:
    """Each of these would add 5 to 10 ms to each start."""
    slow = {"ctypes", "enum", "json", "re", "selectors", "signal", "socket", "subprocess"}
    spec = tmp_path / ".local/share/jupyter/kernels/here"
    spec.mkdir(parents=True)
    argv = ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "env": {"A": "b"}}))
    kernel = {
        **dict.fromkeys(("kernel_name", "key", "signature_scheme"), "here"),
        **{key: {} for key in ("env", "literal_env", "local_env")},
        **{key: [] for key in ("cwd", "setup", "extra_arguments")},
        "login_shell": False,
    }
    request = {"do": "launch", "id": "x" * 8, "kernel": kernel}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", FORK + FIRST_LINE],
        input=package.first() + json.dumps(request).encode() + b"\n",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
    )
    imported = set(done.stderr.decode().split())
    assert "sshpyk.agent.kernel" in imported, done.stdout
    assert imported & slow == set()
