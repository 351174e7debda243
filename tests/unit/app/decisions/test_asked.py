"""A decision that is wanted: when two are the same, and what cannot be decided."""

import asyncio
from typing import Any

import msgspec
import numpy as np
import pytest

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.errors import BadDecision
from app.policies.catalog import catalog
from app.policies.plan import Plans
from tests.support.decisions import POLICIES

CATALOG = catalog(POLICIES)
PLANS = Plans(lambda: CATALOG)


def asked(**more: Any) -> Asked:
    whole = {
        "user_id": "u",
        "loop": "plain",
        "context": Context({"mood": 1, "x": 1}, {"y": 2}),
        "candidates": [Candidate("a", {"size": 1, "side": 0}), Candidate("b")],
        **more,
    }
    return Asked(**whole)


def test_the_order_of_fields_does_not_count() -> None:
    """Only that of candidates does."""
    turned = [Candidate("a", {"side": 0, "size": 1}), Candidate("b")]
    assert asked().digest() == asked(context=Context({"x": 1, "mood": 1}, {"y": 2}), candidates=turned).digest()
    assert len(asked().digest()) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"loop": "books"},
        {"context": Context({"mood": 1, "x": 1}, {"y": 3})},
        {"candidates": [Candidate("b"), Candidate("a", {"size": 1, "side": 0})]},
        {"excluded": ["b"]},
        {"deferred": True},
        {"local": "x"},
    ],
)
def test_all_else_does(change: dict[str, Any]) -> None:
    """A repetition with it is another decision."""
    assert asked(**change).digest() != asked().digest()


def test_what_is_allowed_and_seen() -> None:
    """Places stay as they were; the id is a field that a feature may read, whatever the client calls so."""
    assert asked(excluded=["a"]).allowed() == [1]
    one = asked(candidates=[Candidate("a", {"id": "z"}), Candidate("b")])
    plan = PLANS["plain"]
    assert one.seen([1, 0], plan) == [{}, {"id": "z"}]
    named = msgspec.structs.replace(plan, known={**plan.known, "candidate": frozenset({"id"})})
    assert one.seen([0], named) == [{"id": "a"}]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"candidates": [Candidate("a"), Candidate("a")]}, "same id"),
        ({"excluded": ["c"]}, "'c' is not the id"),
        ({"excluded": ["a", "b"]}, "no candidate is left"),
        ({"context": Context({}, {"y": "z" * 5_000})}, "bytes, more than 4,096"),
        ({"candidates": [Candidate("a", {"y": "z" * 5_000})]}, "bytes, more than 4,096"),
    ],
)
def test_what_cannot_be_decided(change: dict[str, Any], text: str) -> None:
    """The error says why."""
    with pytest.raises(BadDecision, match=text):
        asked(**change).check(PLANS["plain"])


def test_unknown_fields() -> None:
    """They are taken and named once, unless the loop refuses them, from wherever they come."""
    twice = [Candidate("a", {"size": 1, "z": 0}), Candidate("b", {"z": 1})]
    assert asked(candidates=twice).check(PLANS["plain"]) == {("context", "x"), ("user", "y"), ("candidate", "z")}
    known = {"context": Context({"mood": 1}, {})}
    assert asked(**known).check(PLANS["strict"]) == set()
    for change, where in (
        ({}, "context: .*'x'"),
        ({"context": Context({}, {"y": 1})}, "user: .*'y'"),
        (known | {"candidates": [Candidate("a", {"z": 1})]}, "candidates: .*'a: z'"),
    ):
        with pytest.raises(BadDecision, match=where):
            asked(**change).check(PLANS["strict"])


@pytest.mark.anyio
async def test_many_nested_candidates_leave_others_their_turn() -> None:
    """They are seen in slices, to the bit as at once; what could not be read is told of each."""
    nested = catalog("""
[features]
about = { of = "candidate", kind = "nested", with = "moment", buckets = 8 }
[policies.nested]
columns = ["1", "about"]
explore = { by = "epsilon", epsilon = 0.5 }
[loops]
nested = { champion = "nested" }
""")
    plan = Plans(lambda: nested)["nested"]
    candidates = [Candidate(str(place), {"about": {"size": place}} if place % 20 else {}) for place in range(60)]
    one = asked(loop="nested", context=Context({"moment": {"day": 3}}, {}), candidates=candidates)
    places = list(range(5, 60))
    work = asyncio.create_task(one.encoded(places, plan))
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    found, missing = await work
    wanted, lacking = plan.encoder.encode(one.context, one.seen(places, plan))
    assert np.array_equal(found, wanted)
    assert missing == lacking == ["about"] * 2
    assert turns > 3
