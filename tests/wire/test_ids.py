"""Sets of ids, kept as ranges."""

from __future__ import annotations

import random

import pytest

from sshpyk.wire.ids import Ids


@pytest.mark.parametrize("seed", range(20))
def test_holds_what_a_set_holds(seed: int) -> None:
    rng = random.Random(seed)
    ids, model = Ids(), set[int]()
    for _ in range(200):
        if rng.random() < 0.05:
            floor = rng.randint(0, 50)
            ids.remove_before(floor)
            model = {id for id in model if id >= floor}
        else:
            id = rng.randint(0, 60)
            ids.add(id)
            model.add(id)
        assert [id in ids for id in range(62)] == [id in model for id in range(62)]
        assert ids.ranges == sum(id + 1 not in model for id in model)
