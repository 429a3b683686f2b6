"""A Jupyter Server that lies about the helper kernel: its websocket ends, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.agent.helper import WINDOW
from sshpyk.server import trouble
from sshpyk.server.address import ServerAddress
from sshpyk.server.framing import FramingError
from sshpyk.server.helper import LONGEST, Helper, HelperProgram
from sshpyk.server.rest import Server

FACTS = {"python": "/usr/bin/python3", "connection_file": "/run/kernel-1.json"}


def message(type: str, content: object, parent: object = None) -> list[bytes]:
    return [json.dumps(part).encode() for part in ({"msg_type": type}, parent or {}, {}, content)]


async def helper() -> Helper:
    """As after its websocket was opened."""
    server = Server(ServerAddress("http://127.0.0.1:1/"))
    made = Helper(server, "id", 1, 60.0, lambda: None)
    made.is_alive = True
    return made


def of_program(made: Helper) -> Callable[[dict[str, Any], list[bytes]], None]:
    """Says something of the one program that it has."""
    (id,) = made.programs

    def say(data: dict[str, Any], buffers: list[bytes]) -> None:
        content = {"comm_id": id, "data": data}
        made._on_message("control", [*message("comm_msg", content), *buffers])

    return say


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@pytest.mark.parametrize(
    ("data", "buffers"),
    [
        ({"at": 1}, [b"x"]),  # something is missing before it
        ({"at": 0}, []),
        ({"at": 0}, [b"x", b"y"]),
        ({"at": 0}, [bytes(WINDOW + 1)]),
        ({"got": 1}, []),
        ({"got": -1}, []),
        ({"got": None}, []),
        ({}, []),
        ({"at": "0"}, [b"x"]),
    ],
)
def test_what_no_helper_says_ends_it(data: dict[str, Any], buffers: list[bytes]) -> None:
    async def work() -> None:
        made = await helper()
        program = HelperProgram(made, "true")
        of_program(made)(data, buffers)
        assert not made.is_alive
        assert await program.read() == b""
        with pytest.raises(errors.ConnectionLost):
            await program.wait()

    run(work)


def test_no_more_is_held_than_is_allowed() -> None:
    """It sends on and on, and nobody reads."""

    async def work() -> None:
        made = await helper()
        program = HelperProgram(made, "true")
        say = of_program(made)
        at = 0
        while made.is_alive:
            say({"at": at}, [bytes(1 << 20)])
            at += 1 << 20
        assert sum(map(len, program._pieces)) <= WINDOW

    run(work)


@pytest.mark.parametrize(
    "content",
    [
        {"comm_id": "?", "data": {"at": 0}},
        {"comm_id": None, "data": {}},
        {"comm_id": ["x"], "data": {"ask": True}},
    ],
)
def test_comms_that_are_not_ours_are_nothing(content: object) -> None:
    async def work() -> None:
        made = await helper()
        made._on_message("control", message("comm_msg", content))
        made._on_message("control", message("comm_close", content))
        assert made.is_alive

    run(work)


@pytest.mark.parametrize("content", [{}, {"data": []}, {"comm_id": "x", "data": "y"}])
def test_a_comm_without_data_is_no_message(content: object) -> None:
    async def work() -> None:
        made = await helper()
        with pytest.raises(FramingError):  # with which the websocket ends
            made._on_message("control", message("comm_msg", content))

    run(work)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {**FACTS, "python": "python3; rm -rf /"},
        {**FACTS, "python": "/usr/bin/python3\n"},
        {**FACTS, "python": "/" + "x" * LONGEST},
        {**FACTS, "connection_file": ["/a"]},
        {**FACTS, "connection_file": "kernel-1.json"},
    ],
)
def test_facts_that_can_not_be_are_refused(facts: dict[str, Any]) -> None:
    async def work() -> None:
        made = await helper()
        with pytest.raises(trouble.NotCarried):
            made._take_facts(facts)

    run(work)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"user_expressions": 1},
        {"user_expressions": {"facts": []}},
        {"user_expressions": {"facts": {"data": {"text/plain": "[" * 100_000}}}},
        {"user_expressions": {"facts": {"data": {"text/plain": "__import__('os')"}}}},
        {"user_expressions": {"facts": {"status": "error", "evalue": "no\x1b[2J comm"}}},
    ],
)
def test_an_answer_that_is_none_says_so(content: dict[str, Any]) -> None:
    async def work() -> None:
        made = await helper()
        made._asked = "1"
        made._on_message("shell", message("execute_reply", content, {"msg_id": "1"}))
        with pytest.raises(trouble.NotCarried) as caught:
            await made._facts
        assert "\x1b" not in str(caught.value)

    run(work)


def test_an_answer_to_somebody_else_is_not_ours() -> None:
    async def work() -> None:
        made = await helper()
        made._asked = "1"
        made._on_message("shell", message("execute_reply", {}, {"msg_id": "2"}))
        assert not made._facts.done()

    run(work)
