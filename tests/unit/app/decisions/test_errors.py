"""Why a decision is not made or not changed."""

from app.decisions.errors import Refused


def test_a_refusal_says_what_is_recorded() -> None:
    """So that a client need not ask."""
    error = Refused("it was cancelled", "cancelled", None)
    assert (str(error), error.status, error.recorded) == ("it was cancelled", "cancelled", None)
