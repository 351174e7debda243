"""Records, byte by byte."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.bandit.ridge import Matrix, Vector
from state.errors import CorruptState
from state.values import record
from state.values.record import META, Meta, Record

D = 2
A = np.array([[2.0, 0.5], [0.5, 3.0]])
B = np.array([1.0, -2.0])


def blobs(meta: Meta = Meta()) -> list[bytes | None]:  # noqa: B008  # immutable
    fields = record.encode(Record(A, B, meta))
    return [fields.get(name) for name in record.FIELDS]


def test_exact_bytes() -> None:
    """A row by row, b, and meta are little-endian numbers of 8 bytes, packed."""
    fields = record.encode(Record(A, B, Meta(3, 1, 2, -0.5, 1_700_000_000, 4, 1.5, 2.5), b"columns"))
    assert fields == {
        b"A": struct.pack("<4d", 2.0, 0.5, 0.5, 3.0),
        b"b": struct.pack("<2d", 1.0, -2.0),
        b"meta": struct.pack("<QQQdqQdd", 3, 1, 2, -0.5, 1_700_000_000, 4, 1.5, 2.5),
        b"columns": b"columns",
    }


def test_a_view_is_written_row_by_row() -> None:
    """Arrays that are not contiguous in memory are written in the same order."""
    turned = np.array([[1.0, 2.0], [3.0, 4.0]]).T
    assert record.encode(Record(turned, B[::-1], Meta()))[b"A"] == struct.pack("<4d", 1.0, 3.0, 2.0, 4.0)
    assert record.encode(Record(turned, B[::-1], Meta()))[b"b"] == struct.pack("<2d", -2.0, 1.0)


def test_meta_as_numpy_reads_it() -> None:
    """The published dtype reads what is written, field by field."""
    meta = Meta(2**40, 5, 6, 0.25, 1_700_000_000, 7, 0.75, 0.5)
    [read] = np.frombuffer(record.encode_meta(meta)[b"meta"], META)
    assert META.itemsize == 64
    assert {name: read[name].item() for name in META.names or ()} == {
        "pulls": 2**40,
        "explore_count": 5,
        "reward_count": 6,
        "cumulative_reward": 0.25,
        "last_updated": 1_700_000_000,
        "updates": 7,
        "weight": 0.75,
        "squares": 0.5,
    }


counts = st.integers(0, 2**63 - 1)
metas = st.builds(
    Meta,
    counts,
    counts,
    counts,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 253_402_300_799),
    counts,
    st.floats(0, 1e300),
    st.floats(0, 1e300),
    st.binary(max_size=4).map(lambda later: later * 8),
)


@given(metas, st.integers(1, 12), st.integers(0, 2**32))
def test_round_trip(meta: Meta, d: int, seed: int) -> None:
    """What is written is read again, bit by bit, what a newer version appended included."""
    numbers = np.random.default_rng(seed)
    a, b = numbers.normal(size=(d, d)), numbers.normal(size=d)
    fields = record.encode(Record(a, b, meta))
    found = record.decode("key", d, [fields.get(name) for name in record.FIELDS])
    assert found is not None
    assert np.array_equal(found.a, a)
    assert np.array_equal(found.b, b)
    assert found.meta == meta
    assert fields[b"meta"] == record.encode_meta(found.meta)[b"meta"]


def test_counting() -> None:
    """A decision counts a pull and whether it explored, a reward counts itself; each sets the time."""
    meta = Meta(later=b"12345678").decided(10, explored=True).decided(20, explored=False)
    assert meta == Meta(2, 1, 0, 0.0, 20, later=b"12345678")
    assert meta.rewarded(30, -0.5).rewarded(40, 1.0) == Meta(2, 1, 2, 0.5, 40, 2, 2.0, 1.25, b"12345678")


def test_what_was_learned_fades() -> None:
    """The number and the squares of rewards fade as b does, the count of updates does not."""
    meta = Meta().rewarded(1, 1.0, learned=0.5, forget=0.5).rewarded(2, -1.0, learned=-1.5, forget=0.5)
    assert (meta.reward_count, meta.cumulative_reward, meta.updates) == (2, 0.0, 2)
    assert (meta.weight, meta.squares) == (1.5, 0.125 + 2.25)


def test_a_model_from_before_they_were_counted() -> None:
    """One with rewards never has weight and squares; one without has them from its first reward on."""
    a, b, _, _ = blobs(Meta())
    for rewards, weight in ((0, 1.0), (3, None)):
        found = record.decode("key", D, [a, b, struct.pack("<QQQdq", 9, 0, rewards, 0.0, 5), None])
        assert found is not None
        later = found.meta.rewarded(6, 1.0)
        assert (later.updates, later.weight) == (1, weight)
        again = record.decode("key", D, [a, b, record.encode_meta(later)[b"meta"], None])
        assert again is not None
        assert again.meta.weight == weight


@pytest.mark.parametrize("numbers", [(1, float("nan"), 0.0), (1, -1.0, 0.0), (1, 1.0, float("inf")), (2**63, 1.0, 1.0)])
def test_sums_that_no_rewards_have(numbers: tuple[int, float, float]) -> None:
    """They are refused with the key."""
    a, b, meta, _ = blobs(Meta())
    assert meta is not None
    with pytest.raises(CorruptState, match="k: meta"):
        record.decode("k", D, [a, b, meta[:40] + struct.pack("<Qdd", *numbers), None])


def test_sums_that_are_finite_each_alone() -> None:
    """They are no damage, whatever they add up to."""
    meta = Meta(cumulative_reward=1e308, squares=1e308)
    assert record.decode_meta("k", record.encode_meta(meta)[b"meta"]) == meta


@pytest.mark.parametrize("newer", [b"newer...", b"1234", b"\x01"])
def test_longer_meta_is_kept_through_an_update(newer: bytes) -> None:
    """Fields that a newer version appended survive what an older one counts."""
    a, b, meta, _ = blobs(Meta(1, 0, 0, 0.0, 5))
    assert meta is not None
    found = record.decode("key", D, [a, b, meta + newer, None])
    assert found is not None
    counted = struct.pack("<QQQdqQdd", 1, 0, 1, 1.0, 6, 1, 1.0, 1.0)
    assert record.encode_meta(found.meta.rewarded(6, 1.0))[b"meta"] == counted + newer


@pytest.mark.parametrize("fields", [1, 2, 3, 4])
def test_shorter_meta_reads_as_zeros_and_grows(fields: int) -> None:
    """Fields that an older version did not have are zero, and written from then on."""
    a, b, meta, _ = blobs(Meta(7, 6, 5, 4.0, 3))
    assert meta is not None
    found = record.decode("key", D, [a, b, meta[: 8 * fields], None])
    assert found is not None
    read = [getattr(found.meta, name) for name in (META.names or ())[:5]]
    assert read == [value if at < fields else 0 for at, value in enumerate((7, 6, 5, 4.0, 3))]
    assert len(record.encode_meta(found.meta)[b"meta"]) == (64 if fields < 3 else 48)


def test_no_hash_is_no_record() -> None:
    """A user never seen has none."""
    assert record.decode("key", D, [None, None, None, None]) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({0: None}, "field A is missing"),
        ({1: None, 2: None}, "field b, meta is missing"),
        ({0: b""}, "A has 0 bytes, not 32"),
        ({0: bytes(24)}, "A has 24 bytes, not 32"),
        ({1: bytes(24)}, "b has 24 bytes, not 16"),
        ({1: b""}, "b has 0 bytes"),
        ({2: b""}, "meta has 0 bytes"),
        ({2: bytes(39)}, "meta has 39 bytes"),
        ({2: bytes(4)}, "meta has 4 bytes"),
        ({2: struct.pack("<QQQdq", 0, 0, 0, math.nan, 0)}, "cumulative_reward"),
        ({2: struct.pack("<QQQdq", 0, 0, 0, -math.inf, 0)}, "cumulative_reward"),
        ({2: struct.pack("<QQQdq", 0, 0, 0, 0, -1)}, "last_updated"),
        ({2: struct.pack("<QQQdq", 0, 0, 0, 0, 253_402_300_800)}, "last_updated"),
        ({2: struct.pack("<QQQdq", 2**63, 0, 0, 0, 0)}, "count"),
        ({2: struct.pack("<QQQdq", 0, 2**64 - 1, 0, 0, 0)}, "count"),
        ({2: struct.pack("<QQQdq", 0, 0, 2**64 - 1, 0, 0)}, "count"),
    ],
)
def test_damage_names_the_key(change: dict[int, bytes | None], problem: str) -> None:
    """What this service never writes is an error that names the key; nothing is guessed or reset."""
    damaged = [change.get(at, blob) for at, blob in enumerate(blobs())]
    with pytest.raises(CorruptState, match=problem) as caught:
        record.decode("oo:{u}:p", D, damaged)
    assert caught.value.key == "oo:{u}:p"
    assert str(caught.value).startswith("oo:{u}:p: ")


@given(st.lists(st.none() | st.binary(max_size=100), min_size=4, max_size=4))
def test_any_bytes_are_a_record_or_damage(found: list[bytes | None]) -> None:
    """Whatever is there, it is read, absent, or CorruptState; and what is read can be counted on."""
    try:
        read = record.decode("key", D, found)
    except CorruptState:
        return
    if read is not None:
        record.encode(Record(read.a, read.b, read.meta.decided(1, explored=True).rewarded(2, 1.0)))


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (np.eye(2), np.zeros(2), None),
        (A, B, None),
        (np.eye(2) * (1 - 9e-7), B, None),
        (np.eye(2) * (1 - 2e-6), B, "less than the identity"),
        (np.array([[2.0, 0.5], [0.5 + 1e-10, 2.0]]), B, None),
        (np.array([[2.0, 0.5], [0.5 + 1e-7, 2.0]]), B, "not symmetric"),
        (np.array([[2.0, math.nan], [math.nan, 2.0]]), B, "not finite"),
        (A, np.array([math.inf, 0.0]), "not finite"),
        (np.eye(2), np.array([1e200, 0.0]), "out of all proportion"),
        (np.eye(2), np.array([1e150, 0.0]), None),
    ],
)
def test_a_model_that_rewards_cannot_give(a: Matrix, b: Vector, why: str | None) -> None:
    """Not finite, not symmetric, below the identity by more than rounding, or with an estimate out of range."""
    found = record.flaw(Record(a, b, Meta()))
    assert found is None if why is None else found is not None and why in found


def test_a_model_that_cannot_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the linear algebra gives up on is a flaw, not an error."""

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(np.linalg, "eigvalsh", fail)
    large = np.array([1e200, 0.0])  # for which the short way does not suffice
    assert record.flaw(Record(A, large, Meta())) == "A and b give no estimate: no convergence"
