"""Requests to an agent, and who gets which answer."""

from __future__ import annotations

import asyncio

import pytest

from sshpyk import errors
from sshpyk.link.requests import Requests


def test_answers_go_to_who_asked() -> None:
    async def work() -> None:
        numbers: list[int] = []
        requests = Requests(lambda type, *, number, **fields: numbers.append(number))
        one = asyncio.ensure_future(requests.ask("state"))
        two = asyncio.ensure_future(requests.ask("signal", signum=2))
        await asyncio.sleep(0)
        requests.answer(numbers[1], {"of": "two"})
        requests.answer(numbers[0], {"of": "one"})
        assert await one == {"of": "one"}
        assert await two == {"of": "two"}
        requests.answer(numbers[0], {"of": "nobody"})
        requests.answer(77, {"of": "nobody"})

    asyncio.run(work())


def test_an_attachment_that_begins_anew_is_no_cancellation() -> None:
    """Who waits is told by an error of its own, not as if somebody had cancelled it."""

    async def work() -> None:
        requests = Requests(lambda type, **fields: None)
        asked = [asyncio.ensure_future(requests.ask("state")) for _ in range(3)]
        await asyncio.sleep(0)
        requests.fail(errors.ForgottenByAgent(host="sshd"))
        for one in asked:
            with pytest.raises(errors.ForgottenByAgent):
                await one

    asyncio.run(work())
