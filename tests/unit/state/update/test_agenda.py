"""What is known of a sorted set, from what was read and what was changed since."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.update.agenda import NOTHING, Next, first_members, moved
from state.update.changes import AGENDA, FEW


@pytest.mark.parametrize("nested", [False, True])
def test_first_members(nested: bool) -> None:
    """Fewer than were asked for are all; otherwise nothing is known beyond the last."""
    few = first_members([[b"a", b"1"], [b"b", b"2"]] if nested else [b"a", b"1", b"b", b"2"], AGENDA)
    assert few == Next([(b"a", 1.0), (b"b", 2.0)], math.inf)
    many = first_members([word for number in range(AGENDA) for word in (b"%d" % number, b"%d" % number)], AGENDA)
    assert (len(many.members), many.end, many.first) == (AGENDA, AGENDA - 1, 0.0)
    assert (NOTHING.first, few.first) == (None, 1.0)


@given(
    asked=st.sampled_from([FEW, AGENDA]),
    there=st.dictionaries(st.integers(0, 80), st.integers(0, 60), max_size=80),
    changes=st.lists(st.dictionaries(st.integers(0, 90), st.none() | st.integers(0, 70), max_size=40), max_size=4),
)
def test_what_is_known_after_changes(asked: int, there: dict[int, int], changes: list[dict[int, int | None]]) -> None:
    """However often members are moved: what is known is there, up to the end nothing else is, and the first score is
    never above the true one, nor missing where there is a member."""
    truth = {b"%d" % member: score for member, score in there.items()}
    inside = sorted(truth.items(), key=lambda pair: (pair[1], pair[0]))
    known = first_members([word for member, score in inside[:asked] for word in (member, b"%d" % score)], asked)
    for change in changes:
        scores = {b"%d" % member: score for member, score in change.items()}
        known = moved(known, scores)
        truth = {member: score for member, score in (truth | scores).items() if score is not None}
        assert all(truth[member] == score for member, score in known.members)
        assert list(known.members) == sorted(known.members, key=lambda pair: (pair[1], pair[0]))
        assert {member for member, score in truth.items() if score < known.end} <= {name for name, _ in known.members}
        if truth:
            assert known.first is not None
            assert known.first <= min(truth.values())
        if known.members:
            assert known.first == min(truth.values())
