"""What decisions bring and lack: counted, in bounded memory."""

from app.policies.unread import MOST_FIELDS, Unread


def test_counts() -> None:
    """By name and by where it is; a decision without anything odd counts too."""
    unread = Unread()
    unread.note([("context", "a"), ("user", "a")], ["size"])
    unread.note([("context", "a")], [])
    unread.note([], ["size", "mood"])
    assert unread.decisions == 3
    assert unread.fields == {("context", "a"): 2, ("user", "a"): 1}
    assert unread.features == {"size": 2, "mood": 1}
    assert unread.others == 0


def test_memory_is_bounded() -> None:
    """Clients may send any number of names of any length: the first stay and go on counting, others count together."""
    unread = Unread()
    for number in range(1_000):
        unread.note([("candidate", f"{number:04}" + "x" * 4_000)], [])
    unread.note([("candidate", "0000" + "x" * 4_000)], [])
    assert len(unread.fields) == MOST_FIELDS == 64
    assert unread.others == 1_000 - 64
    assert max(len(name) for _, name in unread.fields) == 64
    assert unread.fields["candidate", "0000" + "x" * 60] == 2


def test_how_often_an_apprentice_agrees() -> None:
    """Of all decisions that it was shown."""
    counts = Unread()
    for matched in (True, False, True):
        counts.note_shown(matched=matched)
    assert (counts.imitated, counts.matched) == (3, 2)
