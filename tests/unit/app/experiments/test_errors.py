"""What is said of a change that is not made."""

from app.experiments.errors import NotYet, Stale


def test_what_they_say() -> None:
    """Which state there is, and all reasons."""
    assert str(Stale(7)) == 'the state of the loop is 7: look at it again, and say If-Match: "7"'
    assert str(NotYet(["one", "two"], 3, None)) == "one; two"
