"""What each slot may take: never what another has, and never what a later one cannot do without."""

import random
from itertools import permutations

import pytest

from app.decisions.choose import Free
from app.decisions.errors import BadDecision


@pytest.mark.parametrize(
    ("allowed", "taken", "free"),
    [
        ([[0, 1, 2]], [], [0, 1, 2]),
        ([[0, 1, 2], [0, 1, 2]], [1], [0, 2]),
        ([[0, 1], [0]], [], [1]),
        ([[0, 1, 2], [0, 1], [1]], [], [2]),
        ([[0, 1, 2], [0, 1], [1]], [2], [0]),
        ([[2, 0], [1, 2], [1]], [], [0]),
        ([[0], [1], [2]], [0], [1]),
    ],
)
def test_what_is_free(allowed: list[list[int]], taken: list[int], free: list[int]) -> None:
    """In the order of the candidates' places, after the first slots took theirs."""
    found = Free(allowed)
    for slot, place in enumerate(taken):
        assert place in found.of(slot)
        found.take(place)
    assert found.of(len(taken)) == free


def test_what_cannot_be_filled() -> None:
    """Fewer candidates than slots, or two slots that allow only the same one."""
    for allowed in ([[0], [0]], [[0, 1], [0, 1], [0, 1]], [[0, 1, 2], [2], [2]]):
        with pytest.raises(BadDecision, match="not enough candidates for all"):
            Free(allowed)


def test_exactly_what_leaves_the_others_one() -> None:
    """By comparison with all ways to fill the slots, for slots with any exclusions."""
    chance = random.Random(5)
    filled = 0
    for _ in range(150):
        slots, places = chance.randint(1, 4), chance.randint(1, 5)
        allowed = [sorted(chance.sample(range(places), chance.randint(1, places))) for _ in range(slots)]
        ways = [
            way
            for way in permutations(range(places), slots)
            if all(place in own for place, own in zip(way, allowed, strict=True))
        ]
        if not ways:
            with pytest.raises(BadDecision):
                Free(allowed)
            continue
        found = Free(allowed)
        done: list[int] = []
        for slot in range(slots):
            free = found.of(slot)
            assert free == sorted({way[slot] for way in ways if list(way[:slot]) == done})
            done.append(chance.choice(free))
            found.take(done[-1])
        filled += 1
    assert filled > 50
