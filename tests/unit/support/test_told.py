"""The reference by which others judge decisions knows the rules by itself: every number here is worked out by hand."""

import numpy as np
import pytest

from tests.support.told import Loop, Made, Sums, sums

PATIENT = Loop(champion="serves", seconds=60)
BOOKS = Loop(champion="serves", shadows=("watches",), seconds=2, default=-0.5)
X = {"serves": (1.0, 0.5), "watches": (1.0,)}


def made(loop: Loop = BOOKS, **fields: object) -> Made:
    one = Made("ann", "d1", loop, "rent", X)
    for name, value in fields.items():
        setattr(one, name, value)
    return one


def state(one: Made) -> tuple[str, float | None, int, int]:
    return one.status, one.reward, one.updates, one.n


def test_parts_are_not_shared() -> None:
    """What is told of one decision is told of no other."""
    first, second = made(), made()
    first.tell(1.0)
    assert second.parts == {}


def test_silence() -> None:
    """It is worth the default, once, and nothing where there is none."""
    one, other = made(), made(PATIENT)
    for _ in range(2):
        one.close()
        other.close()
    assert state(one) == ("defaulted", -0.5, 1, 1)
    assert state(other) == ("open", None, 0, 0)


def test_a_late_reward_replaces_the_default() -> None:
    """It is a correction: no update of its own."""
    one = made()
    one.close()
    one.tell(1.0)
    assert state(one) == ("rewarded", 1.0, 1, 2)


def test_a_reward_is_corrected_and_taken_back() -> None:
    """After that no default is booked, and another reward is learned anew."""
    one = made()
    one.tell(0.5)
    one.tell(1.0)
    assert state(one) == ("rewarded", 1.0, 1, 2)
    one.tell(None)
    one.close()
    assert state(one) == ("retracted", None, 1, 3)
    one.tell(0.25)
    assert state(one) == ("rewarded", 0.25, 2, 4)


def test_parts_add_up() -> None:
    """They are learned once, as their sum; those that were taken back are not in it."""
    one = made()
    one.tell(0.5, "a")
    one.tell(0.25, "b")
    assert state(one) == ("rewarded", 0.75, 1, 2)
    one.tell(None, "a")
    assert state(one) == ("rewarded", 0.25, 1, 3)
    one.tell(None, "b")
    assert state(one) == ("retracted", None, 1, 4)


def test_a_deferred_decision_learns_when_it_is_shown() -> None:
    """A reward waits until then; without one the default may come."""
    one = made(status="deferred")
    one.tell(0.5)
    assert (one.standing, state(one)) == (0.5, ("deferred", None, 0, 1))
    one.activate()
    assert state(one) == ("rewarded", 0.5, 1, 2)
    silent = made(status="deferred")
    silent.activate()
    assert state(silent) == ("open", None, 0, 0)
    silent.close()
    assert state(silent) == ("defaulted", -0.5, 1, 1)
    gone = made(status="deferred")
    gone.tell(0.5)
    gone.tell(None)
    gone.activate()
    assert state(gone) == ("retracted", None, 0, 2)


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_what_was_never_shown_teaches_nothing(end: str) -> None:
    """Be it void or cancelled, and whatever was told of it."""
    one = made(status="deferred")
    one.tell(0.5)
    getattr(one, end)()
    one.close()
    assert state(one) == ("void" if end == "close" else "cancelled", None, 0, 2)


def test_sums() -> None:
    """A = I + Σxxᵀ, b = Σ(r - baseline)x, and what is counted beside them; nothing without rewards."""
    found = sums(2, [((1.0, 0.5), 1.0), ((1.0, 0.0), -0.5)], updates=3, baseline=0.5)
    assert np.array_equal(found.a, [[3.0, 0.5], [0.5, 1.25]])
    assert np.array_equal(found.b, [-0.5, 0.25])
    counted = found.rewards, found.total, found.updates, found.weight, found.squares
    assert counted == (2, 0.5, 3, 2.0, 1.25)
    empty: Sums = sums(2, [], updates=0)
    assert np.array_equal(empty.a, np.eye(2))
    assert np.array_equal(empty.b, np.zeros(2))
    assert (empty.total, empty.squares) == (0.0, 0.0)
