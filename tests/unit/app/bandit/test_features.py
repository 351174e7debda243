"""From fields to base columns: defaults, what is missing, and that both ways to them give the same bits."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from app.bandit.context import Context
from app.bandit.features import Encoder, Feature
from app.bandit.kinds import Alignment, Category, Cycle, Flag, Hash, Kind, Number, Vector
from app.bandit.nested import Nested
from tests.unit.app.bandit.values import VALUES, numbers

AGE = Feature("age", "candidate", "days", Number(0.0, 30.0))
LATE = Feature("late", "candidate", "is_late", Flag(), default=True)
PRICE = Feature("price", "candidate", "price", Number(0.0, 100.0), tells_missing=True)
TOPICS = Feature("topics", "candidate", "topics", Hash(4))
ARM = Feature("arm", "candidate", "id", Category(("a", "b")), default="b", tells_missing=True)
HOUR = Feature("hour", "context", "hour", Cycle(24.0), default=12)
PEAK = Feature("peak", "user", "best", Alignment(24.0), default=0.5, compared="hour")
SENT = Feature("sent", "user", "sent", Number(0.0, 100.0, log=True), default=3)
EMPTY = Context()
ALL = (HOUR, AGE, PEAK, LATE, PRICE, TOPICS, SENT, ARM)


def row(*features: Feature, context: Context = EMPTY, **fields: Any) -> tuple[list[float], list[str]]:
    """The base columns of one candidate without the constant, and what was missing."""
    base, missing = Encoder(features).encode(context, [fields])
    assert base[:, 0].tolist() == [1.0]
    return base[0, 1:].tolist(), missing


def test_labels() -> None:
    """The constant first, then each feature's columns in order, with one that tells if it is missing."""
    assert Encoder(ALL).labels == (
        *("1", "hour_sin", "hour_cos", "age", "peak", "late", "price", "price_missing"),
        *("topics#0", "topics#1", "topics#2", "topics#3", "sent", "arm=a", "arm=b", "arm_missing"),
    )
    assert Encoder([]).labels == ("1",)


@pytest.mark.parametrize(
    ("feature", "given", "columns", "missing"),
    [
        (AGE, {"days": 15}, [0.5], False),
        (AGE, {}, [0.0], True),
        (AGE, {"days": None}, [0.0], True),
        (AGE, {"days": "x"}, [0.0], True),
        (AGE, {"age": 15}, [0.0], True),
        (LATE, {"is_late": False}, [0.0], False),
        (LATE, {}, [1.0], True),
        (PRICE, {"price": 25}, [0.25, 0.0], False),
        (PRICE, {"price": math.nan}, [0.0, 1.0], True),
        (ARM, {"id": "a"}, [1.0, 0.0, 0.0], False),
        (ARM, {"id": "c"}, [0.0, 1.0, 1.0], True),
        (ARM, {"id": ["a"]}, [0.0, 1.0, 1.0], True),
        (TOPICS, {"topics": []}, [0.0] * 4, False),
        (TOPICS, {}, [0.0] * 4, True),
    ],
)
def test_a_candidates_feature(feature: Feature, given: dict[str, Any], columns: list[float], missing: bool) -> None:
    """What cannot be read is named and counts as the default."""
    assert row(feature, **given) == (columns, [feature.name] if missing else [])


def test_features_of_the_context_and_of_the_user() -> None:
    """Each is read where it is; the column of an alignment without a value is its default."""
    context = Context({"hour": 6, "best": 0, "sent": 100}, {"best": 6, "hour": 0, "sent": 0})
    found, missing = row(HOUR, PEAK, SENT, context=context)
    assert found == pytest.approx([1.0, 0.0, 1.0, 0.0], abs=1e-12)
    assert missing == []
    found, missing = row(HOUR, PEAK, SENT)
    assert found == pytest.approx([0.0, -1.0, 0.5, math.log(4) / math.log(101)], abs=1e-12)
    assert missing == ["hour", "peak", "sent"]
    assert row(PEAK, context=Context({"hour": None}, {"best": 6})) == ([0.5], ["peak"])


def test_defaults_are_read_as_values_are() -> None:
    """Without one the columns are 0; so they are for a default that cannot be read."""
    assert Feature("a", "user", "a", Number(0.0, 4.0), default="1").instead() == (0.25,)
    assert Feature("a", "user", "a", Vector(2)).instead() == (0.0, 0.0)
    assert Feature("a", "user", "a", Number(0.0, 4.0), default=[]).instead() == (0.0,)
    assert Feature("a", "user", "a", Alignment(24.0), default=0.25).instead() == (0.25,)
    assert Feature("a", "user", "a", Alignment(24.0)).instead() == (0.0,)


def test_what_is_missing_is_named_for_each_candidate() -> None:
    """Once for each that lacks it, and the context's once."""
    _, missing = Encoder(ALL).encode(Context(), [{"days": 1, "is_late": True}, {}, {"days": None}])
    counts = {name: missing.count(name) for name in missing}
    assert counts == {"hour": 1, "peak": 1, "sent": 1, "age": 2, "late": 2, "price": 3, "topics": 3, "arm": 3}


def test_many_values_and_long_ones() -> None:
    """What is remembered of values seen never changes what they become, and does not grow without end."""
    encoder = Encoder([TOPICS, HOUR])
    texts = [f"text {n}" for n in range(600)] + ["x" * 100, "x" * 101]
    for _ in range(2):
        for text in texts:
            base, _ = encoder.encode(Context({"hour": len(text)}), [{"topics": text}])
            assert base[0, 1:5].tolist() == list(Hash(4).columns(text) or ())
    for source in (*encoder._own, *encoder._shared):
        assert 0 < len(source.seen) <= 512
    assert max(len(str(text)) for text in encoder._own[0].seen) <= 64


def test_equal_values_of_other_types() -> None:
    """true is 1 and 1.0 and stays so, whichever came first; a text is another value."""
    encoder = Encoder([ARM, Feature("n", "candidate", "n", Category((1.0, "1")))])
    for value in (True, 1, 1.0, "1", True):
        base, _ = encoder.encode(Context(), [{"n": value}])
        assert base[0, 4:].tolist() == ([0.0, 1.0] if value == "1" else [1.0, 0.0])


plain = st.fixed_dictionaries(
    {}, optional={"days": numbers | st.booleans(), "is_late": numbers | st.booleans(), "w": VALUES}
)


@given(st.lists(plain, min_size=1, max_size=6))
def test_both_ways_give_the_same_bits(candidates: list[dict[str, Any]]) -> None:
    """All candidates at once, or one by one because another of them has an odd value; zeros have one sign."""
    wide = Feature("w", "candidate", "w", Number(-3.0, 1e12))
    for features in ((AGE,), (AGE, LATE, wide), (LATE, TOPICS, AGE)):
        encoder = Encoder(features)
        together, missing = encoder.encode(Context(), candidates)
        apart = [encoder.encode(Context(), [fields]) for fields in candidates]
        slow, _ = encoder.encode(Context(), [*candidates, {"days": "odd", "is_late": [], "w": "odd"}])
        assert together.tobytes() == np.concatenate([base for base, _ in apart]).tobytes()
        assert together.tobytes() == slow[:-1].tobytes()
        assert sorted(missing) == sorted(name for _, names in apart for name in names)
        assert not np.signbit(together[together == 0.0]).any()


def test_many_candidates() -> None:
    """Each as in a short list."""
    encoder = Encoder([AGE, LATE, Feature("w", "candidate", "w", Number(-3.0, 1e12))])
    many = [{"days": days / 7, "is_late": days % 2 == 0, "w": -days} for days in range(600)]
    whole, _ = encoder.encode(EMPTY, many)
    parts = [encoder.encode(EMPTY, many[at : at + 100])[0] for at in range(0, 600, 100)]
    assert whole.tobytes() == np.concatenate(parts).tobytes()


class Task(msgspec.Struct):
    """A candidate as a message."""

    days: float = 0.0
    is_late: bool = False
    topics: list[str] = []


def test_messages_are_seen_as_mappings_are() -> None:
    """To the last bit, also where a field is missing, a number too large, or a feature is none of the simple ones."""
    tasks = [Task(3.0, is_late=True, topics=["a", "b"]), Task(40.0), Task(1e308), Task(1e308)]
    for features in (
        (AGE,),
        (AGE, LATE),
        (AGE, LATE, TOPICS),
        (AGE, PRICE),
        (AGE, Feature("w", "candidate", "w", Flag())),
    ):
        for some in (tasks[:2], tasks):
            encoder = Encoder(features)
            base, missing = encoder.encode(EMPTY, some)
            expected, lacking = encoder.encode(EMPTY, [asdict(task) for task in some])
            assert base.tobytes() == expected.tobytes()
            assert missing == lacking


def test_whole_numbers_beyond_all_floats() -> None:
    """Alone, and where their sum is small."""
    for days in ([10**400], [10**400, -(10**400)], [10**400, 1.5]):
        base, missing = Encoder([AGE]).encode(Context(), [{"days": each} for each in days])
        assert base[0, 1] == 0.0
        assert missing.count("age") == sum(abs(each) > 1e308 for each in days)


KINDS: list[Kind] = [Number(0.0, 1.0), Flag(), Cycle(7.0), Category(("x", 1.0)), Hash(3), Vector(2), Alignment(7.0)]
KINDS += [Number(-1.0, 9.0, log=True), Nested(4)]


@given(st.dictionaries(st.sampled_from("abcdefghi"), VALUES), st.dictionaries(st.sampled_from("abcdefghi"), VALUES))
def test_any_request_gives_bounded_columns(shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Whatever a request holds, its columns are finite and in -1..1, and zeros have one sign."""
    features = [
        Feature(f"{of}_{name}", of, name, kind, tells_missing=name == "b", compared="a" if name == "g" else "")
        for of in ("context", "user", "candidate")
        for name, kind in zip("abcdefghi", KINDS, strict=True)
    ]
    features += [Feature("d", "user", "j", Alignment(7.0), default=-0.0), Feature("e", "user", "j", Vector(1), [-0.0])]
    base, _ = Encoder(features).encode(Context(shared, own), [own, shared])
    assert base.shape == (2, len(Encoder(features).labels))
    assert (np.abs(base) <= 1.0).all()
    assert not np.signbit(base[base == 0.0]).any()


def test_nested_objects_are_crossed_with_the_context() -> None:
    """As the kind alone does it; a context without the field, or an object that is none, is no error."""
    feature = Feature("actions", "candidate", "features", Nested(8), compared="features")
    day, one, other = ({"features": [{name: "x"}]} for name in ("day", "one", "other"))
    base, missing = Encoder([feature]).encode(Context(day), [one, other, {"features": 3}])
    assert [tuple(row[1:]) for row in base[:2]] == [
        Nested(8).columns(each["features"], day["features"]) for each in (one, other)
    ]
    assert (base[2, 1:].tolist(), missing) == ([0.0] * 8, ["actions"])
    base, _ = Encoder([feature]).encode(EMPTY, [one])
    assert tuple(base[0, 1:]) == Nested(8).columns(one["features"])
