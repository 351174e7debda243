"""The index of a user's idempotency keys: when it expires, and what it is made of."""

import pytest

from state import keys
from state.update.index import Index, kinds, made_of

KEY = keys.index("u")


def test_a_new_index_expires_after_its_markers() -> None:
    """Markers live for 7,200 s; the set lives an hour longer, and loses members that expired an hour ago."""
    index = Index("u", 7_200, 100_000)
    assert index.read() == ("ZSCORE", KEY, b"")
    assert index.add(["p:once:a", "p:once:b"], None) == [
        ("ZREMRANGEBYSCORE", KEY, "-inf", 96_400),
        ("ZADD", KEY, 107_200, "p:once:a", 107_200, "p:once:b", 110_800, b""),
        ("EXPIRE", KEY, 10_800),
    ]


@pytest.mark.parametrize(("expires", "commands"), [(109_000, 1), (108_999, 3), (10**9, 1)])
def test_its_expiry_is_put_off_seldom(expires: int, commands: int) -> None:
    """Only when less than half of the slack is left; and never to an earlier time."""
    written = Index("u", 7_200, 100_000).add(["p:once:a"], b"%d" % expires)
    assert len(written) == commands
    assert written[commands // 2][:4] == ("ZADD", KEY, 107_200, "p:once:a")


def test_what_is_restored_outlives_its_markers() -> None:
    """Each member expires no sooner than its marker, the set an hour after the last; no markers make no set."""
    assert made_of("u", {"p:once:a": 1_500, "p:once:b": 9_999}, 100) == [
        ("ZADD", KEY, 102, "p:once:a", 110, "p:once:b", 3_710, b""),
        ("EXPIRE", KEY, 3_610),
    ]
    assert made_of("u", {}, 100) == []


def test_members_are_the_last_parts_of_markers() -> None:
    """The member that stands for the set is left out."""
    assert kinds([b"p:once:a", b"", b"p:once:\xff"]) == ["p:once:a", "p:once:\ufffd"]
