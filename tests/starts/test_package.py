"""The agent's files come in two parts, the second compiled where that is of use."""

from __future__ import annotations

import pytest

from sshpyk.transport import package
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import Server

pytestmark = pytest.mark.sshd


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each second part was compiled, in turn."""
    parts = []
    make = package.rest.__wrapped__  # without its cache, in which nothing false may stay

    def rest(*, compiled: bool) -> bytes:
        parts.append(compiled)
        return make(compiled=compiled)

    monkeypatch.setattr(package, "rest", rest)
    return parts


def test_a_host_with_our_python_gets_bytecode_from_the_second_launch_on(
    server: Server, sent: list[bool]
) -> None:
    write_spec("compiled", server)
    for _ in range(2):
        with started("compiled") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
    assert sent == [False, True]


def test_a_host_that_has_another_python_than_before_asks_for_sources(
    server: Server, sent: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec("changed", server)
    with started("changed"):
        pass
    monkeypatch.setattr(package, "BYTECODE", "cpython-30 0000")
    with started("changed") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert sent == [False, True, False]
