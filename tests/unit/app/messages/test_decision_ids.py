"""The id of a decision: one spelling for each decision, and made ones in the order of time."""

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.messages.decision_ids import LOCAL, decision_id, made, made_at, of_slot, parsed

USERS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
LOCALS = st.from_regex(LOCAL, fullmatch=True)
MOMENTS = st.integers(0, 2**50 - 1)
CHANCE = st.integers(0, 2**64 - 1)


@given(LOCALS, USERS)
def test_it_can_be_read(local: str, user: str) -> None:
    """For any user id, and it needs no escapes in a path."""
    whole = decision_id(local, user)
    assert parsed(whole) == (local, user)
    assert whole.isascii()
    assert set(whole).isdisjoint("/?#%+= ")


@given(LOCALS, USERS, st.sampled_from("=A \n-"))
def test_one_spelling(local: str, user: str, more: str) -> None:
    """Another text for the same bytes would be another id of one decision."""
    whole = decision_id(local, user)
    assert parsed(whole + more) != (local, user)
    last = whole[-1]
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        assert other == last or parsed(whole[:-1] + other) != (local, user)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        ".YW5u",
        "x.",
        "x.Y",
        "x.YW5u=",
        "x.YW5v.YW5u",
        "x y.YW5u",
        "x.YW5u\n",
        f"{'x' * 129}.YW5u",
        f"x.{urlsafe_b64encode(b'u' * 257).decode().rstrip('=')}",
        f"x.{urlsafe_b64encode(bytes([255, 254])).decode().rstrip('=')}",
        "x.YW5\u00fc",
    ],
)
def test_what_is_no_id(text: str) -> None:
    """Also a user id that is too long or is not UTF-8."""
    assert parsed(text) is None


@given(MOMENTS, MOMENTS, CHANCE, CHANCE)
def test_made_ones_sort_by_time(first: int, second: int, one: int, other: int) -> None:
    """They are local ids, and they say when they were made."""
    early, late = made(first, one), made(second, other)
    assert (made_at(early), parsed(decision_id(early, "u"))) == (first, (early, "u"))
    assert (first < second) <= (early < late)
    assert (early == late) == ((first, one) == (second, other))


def test_how_they_are_written() -> None:
    """All bits of both, each digit of five."""
    assert made(1_795_438_044_000, 2**63 + 12_345) == "01m8474rv08000000000c1s"
    assert made(0, 0) == "0" * 23
    assert made(2**50 - 1, 2**64 - 1) == "z" * 10 + "f" + "z" * 12


@pytest.mark.parametrize("local", ["x", "mail-2026", made(1, 1)[:-1], made(1, 1) + "0", made(1, 1).upper()[:-1] + "U"])
def test_those_of_clients_do_not(local: str) -> None:
    """Whatever they look like."""
    assert made_at(local) is None


def test_those_of_slots() -> None:
    """Whatever text the slot has: the same for the same two, and a local id itself."""
    pairs = [("x", "top"), ("x", "a/ü \n.b"), ("x\ntop", ""), ("x", ""), ("y", "top")]
    found = [of_slot(*pair) for pair in pairs]
    assert len(set(found)) == len(pairs)
    assert all(parsed(decision_id(each, "u")) == (each, "u") for each in found)
