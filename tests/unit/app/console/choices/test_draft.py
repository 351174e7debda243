"""Requests to try: an example that the loop reads, as a form and back."""

import pytest

from app.bandit.context import Context
from app.console.choices.draft import MOST_ROWS, as_text, example, fields_of, fits, request_of, sweep, typed, untyped
from app.messages.reading import Unreadable
from app.policies.catalog import catalog
from app.policies.plan import Plans

KINDS = """
[features]
size = { of = "candidate", kind = "number", min = 0, max = 9 }
ready = { of = "candidate", kind = "flag" }
arm = { of = "candidate", field = "id", kind = "category", values = ["x", "y"] }
topics = { of = "candidate", kind = "hash", buckets = 4 }
taste = { of = "candidate", kind = "vector", size = 2 }
idle = { of = "user", kind = "bins", edges = [1, 6] }
peak = { of = "user", kind = "alignment", with = "hour_of_day", period = 24 }
place = { of = "context", kind = "category", values = ["home", "work"] }
zone = { of = "user", kind = "category", values = [MANY] }
wet = { of = "context", kind = "flag" }
odd = { of = "context", field = "number", kind = "member", values = [1, 3] }

[policies.all]
columns = ["1", "size", "ready", "arm", "topics", "taste", "idle", "peak", "zone", "place", "wet", "odd"]
explore = { by = "epsilon", epsilon = 0.5 }

[policies.few]
columns = ["1", "wet*size"]
explore = { by = "epsilon", epsilon = 0.5 }

[policies.flat]
columns = ["1", "size"]
explore = { by = "epsilon", epsilon = 0.5 }

[loops]
all = { champion = "all" }
few = { champion = "few" }
flat = { champion = "flat" }
"""
KNOWN = catalog(KINDS.replace("MANY", ", ".join(f'"z{place}"' for place in range(40))))
PLANS = Plans(lambda: KNOWN)


@pytest.mark.parametrize("loop", [*KNOWN.loops])
def test_an_example_has_what_the_features_read(loop: str) -> None:
    """Nothing is missing and nothing is unread; its candidates differ, and the form has all of it."""
    plan = PLANS[loop]
    raw = example(plan, 9, 2)
    asked = request_of(raw, "u", loop)
    context = Context(asked.context, asked.user)
    base, missing = plan.encoder.encode(context, [{**each.features, "id": each.id} for each in asked.candidates])
    assert missing == []
    assert plan.unknown("context", asked.context) == plan.unknown("user", asked.user) == []
    assert len({row.tobytes() for row in base}) == len(asked.candidates)
    form = {field.name: field.value for rows in fields_of(raw, plan).values() for row in rows for field in row}
    assert untyped(form) == raw
    hints = {field.label: (field.hint, len(field.choices)) for field in fields_of(raw, plan)["user"][0]}
    assert hints.get("zone", ("one of 40 values", 0)) == ("one of 40 values", 0)
    assert typed(as_text(raw)) == raw


def test_the_hour_and_the_day_are_those_of_the_call() -> None:
    """Where features read them."""
    raw = example(PLANS["tips"], 9, 2)
    assert raw["context"] == {"hour_of_day": 9, "day_of_week": 2}
    assert [each["id"] for each in example(PLANS["all"], 9, 2)["candidates"]] == ["x", "y"]


def test_a_form_that_was_changed() -> None:
    """An empty field is absent, an empty id takes its candidate out, and text need not be JSON."""
    form = {"context.place": " home ", "context.wet": "true", "user.idle": "", "candidate.0.id": "", "loop": "all"}
    form |= {"candidate.0.features.size": "3", "candidate.1.id": "y", "candidate.1.features.topics": '["a", "b"]'}
    form |= {"candidate.1.features.size": "2.5", "candidate.1.features.ready": "", "candidate.1.other": "1"}
    assert untyped(form) == {
        "context": {"place": "home", "wet": True},
        "user": {},
        "candidates": [{"id": "y", "features": {"topics": ["a", "b"], "size": 2.5}}],
    }


def test_what_no_feature_reads_has_a_field_too() -> None:
    """And says so; what cannot be in a form is not shown in one."""
    raw = {"context": {"mood": "fine"}, "candidates": [{"id": "a", "features": {"zip": None}}]}
    fields = fields_of(raw, PLANS["flat"])
    [mood] = fields["context"][0]
    assert (mood.value, mood.hint) == ("fine", "no feature reads it")
    assert [field.label for field in fields["candidates"][0]] == ["id", "size", "zip"]
    assert fits(raw, PLANS["flat"])
    assert not fits({**raw, "exclude": ["a"]}, PLANS["flat"])
    assert not fits({"candidates": [{"id": str(place)} for place in range(MOST_ROWS + 1)]}, PLANS["flat"])
    assert not fits({"candidates": "none", "context": []}, PLANS["flat"])

    assert not fits({"candidates": [], "user": {str(place): place for place in range(201)}}, PLANS["flat"])


def test_a_request_that_is_nested_deeply_stays_short() -> None:
    """Each level indents all that is in it: 160 kB would become 74 MB."""
    deep: object = [1] * 1_000
    for _ in range(500):
        deep = [deep]
    raw = {"context": {"at": deep}}
    assert len(as_text(raw)) < 4_000
    assert typed(as_text(raw)) == raw
    assert as_text({"a": [1]}).count("\n") == 4


@pytest.mark.parametrize(
    ("loop", "wanted"),
    [("tips", ("hour_of_day", list(range(24)))), ("all", ("place", ["home", "work"])), ("few", ("wet", [False, True]))],
)
def test_over_what_a_choice_is_shown(loop: str, wanted: tuple[str, list[object]]) -> None:
    """The hour of the day if a feature reads it; else something with a few values."""
    assert sweep(PLANS[loop]) == wanted


def test_nothing_to_sweep() -> None:
    """A loop may know no context."""
    assert sweep(PLANS["flat"]) == ("", [])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"candidates": []}', '{"candidates": [{"id": 1}]}', '{"context": 3}'])
def test_what_cannot_be_read(text: str) -> None:
    """It is refused with a sentence."""
    with pytest.raises(Unreadable):
        request_of(typed(text), "u", "tips")
