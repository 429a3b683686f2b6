"""Whether a kernel was idle shows in the bytes of iopub, from anywhere on and however cut."""

from __future__ import annotations

import json

import pytest

from sshpyk.link.idle import IdleWatch

IDLE = [json.dumps({"execution_state": "idle"}), '{"execution_state":"idle"}']
OTHERS = [
    json.dumps({"execution_state": "busy"}),
    json.dumps({"name": "stdout", "text": IDLE[0]}),
    json.dumps({"text/plain": "'execution_state': 'idle'"}),
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("said", IDLE)
def test_an_idle_kernel(said: str, size: int) -> None:
    assert sees("".join(OTHERS), size) is False
    assert sees("".join([*OTHERS, said, *OTHERS]), size) is True


def sees(text: str, size: int) -> bool:
    watch = IdleWatch()
    for at in range(0, len(text), size):
        watch.feed(text[at : at + size].encode())
    return watch.seen
