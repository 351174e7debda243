"""What a row has."""

from app.messages.basics import Ok
from app.reference.described import BUSY, NO_USER, ODD, STORE_AWAY, TOO_LONG, UNREADABLE, Described


def test_the_errors_that_many_share() -> None:
    """Each has its status and one such answer."""
    assert [each.status for each in (TOO_LONG, NO_USER, STORE_AWAY, BUSY)] == [413, 422, 503, 503]
    assert all(each.detail and each.meaning for each in (TOO_LONG, NO_USER, STORE_AWAY, BUSY))
    assert NO_USER.meaning == UNREADABLE
    assert ODD


def test_a_row_is_short() -> None:
    """What is usual need not be said: the user of the examples, no query, nothing read."""
    row = Described(tag="operation", summary="s", answers=Ok())
    assert (row.place, row.query, row.reads, row.errors) == ("ann", (), None, ())
