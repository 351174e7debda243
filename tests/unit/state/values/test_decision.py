"""A decision as Redis holds it: what is written is read, and damage is told with its key."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import CorruptState
from state.values import decision
from state.values.decision import (
    SHARED,
    Evidence,
    Learned,
    Part,
    Record,
    Shadow,
    Terms,
    User,
    decode,
    decode_user,
    encode,
    encode_user,
    unlogged,
)

TERMS = Terms(-1.0, 1.0, 0.25, discards=True, adds=False)
RECORD = Record(
    request=b"r" * 16,
    loop="tips",
    policy="p",
    status="rewarded",
    born=1,
    decided=2,
    deadline=3,
    terms=TERMS,
    ids=["a", "b"],
    propensities=[0.25, 0.75],
    chosen=1,
    score=0.5,
    seed=2**64 - 1,
    by_policy=[Shadow("p", [0.25, 0.75]), Shadow("q", [1.0, 0.0])],
    labels=["1", "size"],
    x=[1.0, 0.5],
    n=2,
    reward=0.5,
    rewarded=3,
    learned=[Learned("p", 1, b"c")],
    parts={"": Part(0.25, 0.5), "a": Part(1.0, None)},
    early=True,
)
COUNTS = st.integers(0, 10**18 - 1)


def test_a_round_trip() -> None:
    """Every field, and those that a newer version appended are passed over."""
    assert decode("k", encode(RECORD)) == RECORD
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode(RECORD)), "new"])
    assert decode("k", longer) == RECORD


@pytest.mark.parametrize(
    "change",
    [
        {"chosen": 2},
        {"propensities": [1.0]},
        {"labels": ["1"]},
        {"by_policy": [Shadow("p", [1.0])]},
        {"status": "lost"},
        {"deadline": 10**18},
        {"propensities": [0.25, 1.5]},
    ],
)
def test_what_does_not_fit_together(change: dict[str, object]) -> None:
    """The error names the key."""
    with pytest.raises(CorruptState, match="oo:k: is not a decision"):
        decode("oo:k", encode(msgspec.structs.replace(RECORD, **change)))


@given(st.binary(max_size=200) | st.integers(0, 200).map(lambda size: encode(RECORD)[:size]))
def test_any_bytes(blob: bytes) -> None:
    """They are a decision, or a damaged key."""
    try:
        found = decode("k", blob)
    except CorruptState as error:
        text = str(error)
    else:
        text = "k: " if decode("k", encode(found)) == found else ""
    assert text.startswith("k: ")


def test_nested_too_deeply() -> None:
    """Damage as well, and no defect."""
    blob = encode(RECORD)
    deep = bytes([blob[0], blob[1], blob[2] + 1]) + blob[3:] + b"\x91" * 100_000
    for damaged in (deep, b"\x91" * 100_000):
        with pytest.raises(CorruptState, match="k: is not a decision"):
            decode("k", damaged)


@given(st.binary(min_size=1), st.lists(COUNTS, min_size=6, max_size=6))
def test_what_a_user_s_decisions_share(epoch: bytes, counts: list[int]) -> None:
    """All fields in their order."""
    user = User(epoch, *counts)
    for one, names in ((user, SHARED[:-1]), (msgspec.structs.replace(user, parts=256), SHARED)):
        fields = encode_user(one)
        assert tuple(fields) == names  # most users have no parts
        assert decode_user("k", [fields.get(name) for name in SHARED], b"other") == one


def test_models_that_change_past_the_log() -> None:
    """The log of a user begins anew; who has none needs nothing."""
    assert unlogged([b"e", b"1"]) == {b"logged": b"0"}
    assert unlogged([None, b"1"]) == {}


def test_a_new_user() -> None:
    """Gets the epoch."""
    assert decode_user("k", [None] * 8, b"e") == User(b"e")


@pytest.mark.parametrize("odd", [None, b"", b"-1", b"1.5", b"x", b"1" * 19, b" 1", b"1,2", b"1e2", b"-0"])
@pytest.mark.parametrize("place", [1, 2, 3, 4, 5, 6])
def test_a_count_that_is_none(odd: bytes | None, place: int) -> None:
    """Named with its key, whichever field it is."""
    values: list[bytes | None] = [b"e", b"1", b"2", b"3", b"4", b"5", b"6", None]
    values[place] = odd
    with pytest.raises(CorruptState, match="oo:k: has a field that is not a count"):
        decode_user("oo:k", values, b"")


def test_fields_are_only_appended() -> None:
    """Older decisions have none of the last ones."""
    short = msgspec.msgpack.encode(msgspec.msgpack.decode(encode(RECORD))[:16])
    assert decision.decode("k", short).parts == {}


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence([0], b"", ["one"], bytes(8), b""),
        Evidence([0], bytes(8), ["one"], bytes(16), b""),
        Evidence([0], bytes(8), ["one"], bytes(8), bytes(16)),
        Evidence([9], bytes(8), ["one"], bytes(8), b""),
        Evidence([-1], bytes(8), ["one"], bytes(8), bytes(8)),
    ],
)
def test_evidence_that_does_not_fit(evidence: Evidence) -> None:
    """Its numbers are those of the candidates and columns it names."""
    made = Record(
        b"",
        "tips",
        "p",
        "open",
        0,
        0,
        1,
        TERMS,
        ["a"],
        [1.0],
        0,
        0.0,
        1,
        [Shadow("p", [1.0])],
        ["one"],
        [1.0],
        evidence=evidence,
    )
    with pytest.raises(CorruptState, match="k: is not a decision: its evidence does not fit it"):
        decode("k", encode(made))
