"""The names of keys, byte by byte."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from state import keys

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


def test_a_string_beside_a_key() -> None:
    """In the same slot, by redis-py's arithmetic."""
    for key in (keys.LOOPS, keys.EVIDENCE):
        assert key_slot(keys.flight_beside(key).encode()) == key_slot(key.encode())


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


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        ("oo:{ann}:history", ("ann", "history")),
        ("oo:{zo%C3%AB%20%7B3%7D}:linucb-v1:once:a%2Fb", ("zoë {3}", "linucb-v1:once:a%2Fb")),
        ("oo:{ann}:flight:ab:1", ("ann", "flight:ab:1")),
        ("oo:flight:ab:1", None),
        ("oo:{}:history", None),
        ("oo:{a b}:history", None),
        ("oo:{%c3%ab}:history", None),
        ("oo:{%FF}:history", None),
        ("oo:{ann}:", None),
        ("oo:{ann}:a b", None),
        ("x:{ann}:history", None),
    ],
)
def test_keys_are_read_back(key: str, parsed: tuple[str, str] | None) -> None:
    """A key names its user and kind, and only a key that the service would write does."""
    assert keys.parse(key) == parsed
    assert parsed is None or keys.of(*parsed) == key


def test_all_keys_of_a_user_are_known() -> None:
    """What an erasure removes by name: a model for each policy, the history, the last sync and the decisions."""
    assert keys.fixed(["a", "b"]) == ["a", "b", "history", "sync", "u", "d", "t"]
    assert keys.of("an*n", "*") == "oo:{an%2An}:*"
    assert not keys.is_policy(keys.SEEN)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("p:once:k", ("p", "k")),
        ("p:once:a%2Fb", ("p", "a/b")),
        ("p:once:a/b", None),
        ("p:once:a%2fb", None),
        ("p:once:", None),
        ("p:once:" + "k" * 128, ("p", "k" * 128)),
        ("p:once:" + "k" * 129, None),
        ("p:once:%20", None),
        ("p:once:%FF", None),
        ("once", None),
        ("history", None),
    ],
)
def test_markers_are_read_back(kind: str, parts: tuple[str, str] | None) -> None:
    """Only what `marker` would write, with a key as the header may have it, names a policy and an idempotency key."""
    assert keys.marker_parts(kind) == parts
    if parts is not None:
        assert keys.is_marker(kind)
        assert keys.kind_of(keys.marker("u", *parts)) == kind


def test_kinds() -> None:
    """Markers and the operation ids of version 0.1.0 are told from all else by their last parts."""
    assert [keys.is_marker(kind) for kind in ("p:once:k", "once", "history")] == [True, False, False]
    assert [keys.is_passing(kind) for kind in ("flight:x:1", "history", "p:flight")] == [True, False, False]
    assert keys.kind_of(keys.draft("u")) == "flight:draft"
    assert keys.rate("ci") == "oo:rate:ci"
