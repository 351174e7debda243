"""What a consumer counts, and what it tells an observer."""

from app.events.counts import Counts, untraced
from tests.unit.app.events.fakes import Observed


def test_events_are_counted_and_told() -> None:
    """Each outcome in its own count, from 0."""
    observed = Observed()
    for happening in ("processed", "failed", "failed"):
        observed.counts.event(happening)
    observed.counts.pending(7)
    assert observed.counts.of == {"processed": 1, "failed": 2, "dead_lettered": 0}
    assert (observed.events, observed.waiting) == ({"processed": 1, "failed": 2}, [7])
    assert observed.counts.last_at is None


def test_without_an_observer() -> None:
    """The counts are kept for /health."""
    counts = Counts("signals", None)
    counts.event("dead_lettered")
    counts.pending(7)
    assert counts.of["dead_lettered"] == 1


def test_untraced() -> None:
    """A delivery without traces adds no headers to a dead letter."""
    with untraced("s", {"a": "b"}) as headers:
        assert headers == {}
