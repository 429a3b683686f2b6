"""Whether small messages wait at the server is seen from when two of them came."""

from __future__ import annotations

from typing import Any

import pytest

from sshpyk.agent.helper import GATHER
from sshpyk.server.pairs import MOST, Pairs

SHORT, LONG = GATHER / 2, GATHER * 2


def test_where_the_second_came_at_once_nothing_is_to_wait() -> None:
    pairs = Pairs()
    assert pairs.ask() == {"pair": 1}
    assert pairs.came(1, 5, 10.0) is None
    assert pairs.came(1, 6, 10.0 + SHORT) == {"gather": 0.0}
    # That is said once, whatever comes then.
    assert pairs.came(1, 7, 10.0 + SHORT) is None


@pytest.mark.parametrize(("reads", "after"), [(6, LONG), (5, 0.0)], ids=["late", "same-read"])
def test_else_it_is_tried_again_and_not_for_ever(reads: int, after: float) -> None:
    pairs = Pairs()
    said: dict[str, Any] | None = pairs.ask()
    for number in range(1, MOST + 1):
        assert said == {"pair": number}
        assert pairs.came(number, 5, 10.0) is None
        said = pairs.came(number, reads, 10.0 + after)
    assert said is None
    assert pairs.came(MOST, 7, 10.0) is None


@pytest.mark.parametrize("number", [0, 2, "1", None, []])
def test_what_was_not_asked_for_is_nothing(number: object) -> None:
    pairs = Pairs()
    pairs.ask()
    for reads in (5, 6):
        assert pairs.came(number, reads, 10.0) is None
