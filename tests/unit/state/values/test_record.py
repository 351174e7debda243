"""Keys, records and history entries, byte by byte."""

import math
import re
import struct
from urllib.parse import unquote

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from state import keys
from state.errors import CorruptState
from state.values import history, record
from state.values.record import META, Meta, Record

D = 2
A = np.array([[2.0, 0.5], [0.5, 3.0]])
B = np.array([1.0, -2.0])


def blobs(meta: Meta = Meta()) -> list[bytes | None]:  # noqa: B008  # immutable
    fields = record.encode(Record(A, B, meta))
    return [fields[name] for name in record.FIELDS]


# Records


def test_exact_bytes() -> None:
    """A row by row, b, and meta are little-endian numbers of 8 bytes, packed."""
    fields = record.encode(Record(A, B, Meta(3, 1, 2, -0.5, 1_700_000_000)))
    assert fields == {
        b"A": struct.pack("<4d", 2.0, 0.5, 0.5, 3.0),
        b"b": struct.pack("<2d", 1.0, -2.0),
        b"meta": struct.pack("<QQQdq", 3, 1, 2, -0.5, 1_700_000_000),
    }


def test_a_view_is_written_row_by_row() -> None:
    """Arrays that are not contiguous in memory are written in the same order."""
    turned = np.array([[1.0, 2.0], [3.0, 4.0]]).T
    assert record.encode(Record(turned, B[::-1], Meta()))[b"A"] == struct.pack("<4d", 1.0, 3.0, 2.0, 4.0)
    assert record.encode(Record(turned, B[::-1], Meta()))[b"b"] == struct.pack("<2d", -2.0, 1.0)


def test_meta_as_numpy_reads_it() -> None:
    """The published dtype reads what is written, field by field."""
    meta = Meta(2**40, 5, 6, 0.25, 1_700_000_000)
    [read] = np.frombuffer(record.encode_meta(meta)[b"meta"], META)
    assert META.itemsize == 40
    assert {name: read[name].item() for name in META.names or ()} == {
        "pulls": 2**40,
        "explore_count": 5,
        "reward_count": 6,
        "cumulative_reward": 0.25,
        "last_updated": 1_700_000_000,
    }


counts = st.integers(0, 2**63 - 1)
metas = st.builds(
    Meta,
    counts,
    counts,
    counts,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 253_402_300_799),
    st.binary(max_size=4).map(lambda later: later * 8),
)


@given(metas, st.integers(1, 12), st.integers(0, 2**32))
def test_round_trip(meta: Meta, d: int, seed: int) -> None:
    """What is written is read again, bit by bit, what a newer version appended included."""
    numbers = np.random.default_rng(seed)
    a, b = numbers.normal(size=(d, d)), numbers.normal(size=d)
    fields = record.encode(Record(a, b, meta))
    found = record.decode("key", d, [fields[name] for name in record.FIELDS])
    assert found is not None
    assert np.array_equal(found.a, a)
    assert np.array_equal(found.b, b)
    assert found.meta == meta
    assert fields[b"meta"] == record.encode_meta(found.meta)[b"meta"]


def test_counting() -> None:
    """A decision counts a pull and whether it explored, a reward counts itself; each sets the time."""
    meta = Meta(later=b"12345678").decided(10, explored=True).decided(20, explored=False)
    assert meta == Meta(2, 1, 0, 0.0, 20, b"12345678")
    assert meta.rewarded(30, -0.5).rewarded(40, 1.0) == Meta(2, 1, 2, 0.5, 40, b"12345678")


@pytest.mark.parametrize("newer", [b"newer...", b"1234", b"\x01"])
def test_longer_meta_is_kept_through_an_update(newer: bytes) -> None:
    """Fields that a newer version appended survive what an older one counts."""
    a, b, meta = blobs(Meta(1, 0, 0, 0.0, 5))
    assert meta is not None
    found = record.decode("key", D, [a, b, meta + newer])
    assert found is not None
    assert record.encode_meta(found.meta.rewarded(6, 1.0))[b"meta"] == struct.pack("<QQQdq", 1, 0, 1, 1.0, 6) + newer


@pytest.mark.parametrize("fields", [1, 2, 3, 4])
def test_shorter_meta_reads_as_zeros_and_grows(fields: int) -> None:
    """Fields that an older version did not have are zero, and written from then on."""
    a, b, meta = blobs(Meta(7, 6, 5, 4.0, 3))
    assert meta is not None
    found = record.decode("key", D, [a, b, meta[: 8 * fields]])
    assert found is not None
    read = [getattr(found.meta, name) for name in META.names or ()]
    assert read == [value if at < fields else 0 for at, value in enumerate((7, 6, 5, 4.0, 3))]
    assert len(record.encode_meta(found.meta)[b"meta"]) == 40


def test_no_hash_is_no_record() -> None:
    """A user never seen has none."""
    assert record.decode("key", D, [None, None, None]) is None


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


@given(st.lists(st.none() | st.binary(max_size=100), min_size=3, max_size=3))
def test_any_bytes_are_a_record_or_damage(found: list[bytes | None]) -> None:
    """Whatever is there, it is read, absent, or CorruptState; and what is read can be counted on."""
    try:
        read = record.decode("key", D, found)
    except CorruptState:
        return
    if read is not None:
        record.encode(Record(read.a, read.b, read.meta.decided(1, explored=True).rewarded(2, 1.0)))


# Keys

users = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
USERS = ["a.b", "a_b", "}x", "{}", "日本", "egreedy", "v2", "x" * 256, "a%b", "a:b", "u:history", "A-Z~@", " ", "\0"]


@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("u1", "u1"),
        ("A-Za._~@:-9", "A-Za._~@:-9"),
        ("}x{", "%7Dx%7B"),
        ("a/b c%", "a%2Fb%20c%25"),
        ("日", "%E6%97%A5"),
        ("é\n", "%C3%A9%0A"),
    ],
)
def test_how_keys_are_written(user: str, written: str) -> None:
    """The user id stands in braces with every byte but A-Za-z0-9._~@:- percent-encoded."""
    assert keys.record(user, "linucb-v1") == f"oo:{{{written}}}:linucb-v1"
    assert keys.history(user) == f"oo:{{{written}}}:history"
    assert keys.sync(user) == f"oo:{{{written}}}:sync"
    assert keys.marker(user, "p", "k") == f"oo:{{{written}}}:p:once:k"
    assert keys.index(user) == f"oo:{{{written}}}:once"
    assert keys.flight("lane", None) == "oo:flight:lane"


@given(users)
def test_operation_ids_are_in_the_user_s_slot(user: str) -> None:
    """An operation id lies where the user's keys do, by redis-py's arithmetic, and its key does not name the user."""
    key = keys.flight("lane", user)
    assert re.fullmatch(r"oo:flight:lane:\{\d+\}", key)
    assert key_slot(key.encode()) == key_slot(keys.history(user).encode())


def of_user(user: str) -> list[str]:
    return [
        keys.record(user, "linucb-v1"),
        keys.record(user, "egreedy-v1"),
        keys.history(user),
        keys.sync(user),
        keys.marker(user, "egreedy-v1", user),
        keys.index(user),
    ]


@given(users, users)
def test_no_two_users_share_a_key(one: str, other: str) -> None:
    """Keys differ within a user and between users, whatever the ids."""
    assert len(set(of_user(one))) == len(of_user(one))
    if one != other:
        assert not set(of_user(one)) & set(of_user(other))


def test_users_that_look_alike() -> None:
    """Ids made to collide do not."""
    everything = [key for user in USERS for key in of_user(user)]
    assert len(set(everything)) == len(everything)


@given(users)
def test_a_user_can_be_read_from_a_key(user: str) -> None:
    """The encoding is plain: undoing it gives the id."""
    found = re.fullmatch(r"oo:\{([A-Za-z0-9._~@:%-]+)\}:history", keys.history(user))
    assert found is not None
    assert unquote(found[1]) == user


@given(users)
def test_all_keys_of_a_user_are_in_one_slot(user: str) -> None:
    """A Redis Cluster keeps them together."""
    assert len({key_slot(key.encode()) for key in of_user(user)}) == 1


def test_users_spread_over_slots() -> None:
    """Users do not all share a slot."""
    assert len({key_slot(keys.history(f"u{number}").encode()) for number in range(1_000)}) > 900


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.text("ab:{}%/", min_size=1))
def test_no_two_idempotency_keys_share_a_marker(one: str, other: str) -> None:
    """Markers differ as their keys do."""
    assert (keys.marker("u", "p", one) == keys.marker("u", "p", other)) == (one == other)


# History


ENTRY = history.Entry(1_700_000_000, "tip-5f3a9c2e", 0.8312947123456789, 14, True, 3.5, 2, "egreedy-v2", 3, False)


def test_an_entry_is_a_compact_array() -> None:
    """One decision is a JSON array in a fixed order, and a typical one has at most 128 bytes."""
    text = b'[1700000000,"tip-5f3a9c2e",0.8312947123456789,14,true,3.5,2,"egreedy-v2",3,false]'
    assert history.encode(ENTRY) == text
    assert len(text) <= 128
    assert history.decode("key", [text, text]) == [ENTRY, ENTRY]


def test_older_and_newer_entries_are_read() -> None:
    """Fields that may be absent are; those that a newer version appended are passed over."""
    older = b'[1,"t",0.5,1,false,0.0,1,"linucb-v1"]'
    newer = b'[1,"t",0.5,1,false,0.0,1,"linucb-v1",null,null,0.25]'
    [one, other] = history.decode("key", [older, newer])
    assert (
        one
        == other
        == history.Entry(1, "t", 0.5, 1, is_overdue=False, task_age_days=0.0, priority=1, policy="linucb-v1")
    )


def entry_at(ts: int) -> bytes:
    return history.encode(msgspec.structs.replace(ENTRY, ts=ts))


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'[1,"t"]',
        b'["x"]',
        b"\xff",
        b'[1,"\xff",0]',
        b"[" * 9_999,
        entry_at(-1),
        entry_at(253_402_300_800),
    ],
)
def test_a_damaged_entry_names_the_key_and_its_place(entry: bytes) -> None:
    """What is no entry is an error, not a gap."""
    with pytest.raises(CorruptState, match=r"^oo:\{u\}:history: entry 1: "):
        history.decode("oo:{u}:history", [history.encode(ENTRY), entry])
