"""Draws beside propensities: what is sound passes, and what is not is dated."""

import numpy as np
import pytest

from app.evaluation.draws import Draws, by_likeliest, by_position, together
from app.evaluation.logged import Logged
from app.evaluation.sums import reduced
from tests.unit.app.evaluation.logs import facts, few, greedy, logged, made, many


def likeliest(log: Logged) -> Draws:
    return by_likeliest(reduced(log, log.propensities))


def test_given_numbers() -> None:
    """The chance of the 20 decisions' draws, and what scipy makes of both logs."""
    agreed = facts()["few"]["agreed"]["diagnostics"]["greedy_calibration"]
    assert likeliest(few()).p == pytest.approx(agreed["p"], rel=1e-12)
    for log, data in ((few(), "few"), (many(), "many")):
        assert likeliest(log).p == pytest.approx(facts()[data]["numbers"]["scipy"]["likeliest_p"], rel=1e-12)
    assert by_position(many()).p == pytest.approx(facts()["many"]["numbers"]["scipy"]["position_p"], rel=1e-9)


def test_sound_logs_pass() -> None:
    """Of 100 sound logs none has a chance below 1e-7, and both chances are spread evenly."""
    logs = [made(500, seed=seed) for seed in range(100)]
    for test in (likeliest, by_position):
        found = np.array([test(log).p for log in logs])
        assert found.min() > 1e-7
        assert 0.3 < found.mean() < 0.7
        assert (found < 0.5).mean() == pytest.approx(0.5, abs=0.3)


def test_a_change_is_dated() -> None:
    """Since the hour 30 the log says that it explores, and the service does not; and the other way round."""
    log = made()
    c = log.by_policy["champion"].reshape(-1, 4)
    late = np.arange(4_000)[:, None] >= 2_400
    for wrong in (greedy(c, 0.1), np.full(c.shape, 0.25)):
        found = likeliest(made(drawn_from=np.where(late, wrong, c)))
        assert found.p < 1e-6
        assert 28 <= found.since <= 31


def test_positions_are_compared() -> None:
    """Draws that prefer late positions are found and dated though the likeliest is drawn as often as it should be."""
    log = made()
    c = log.by_policy["champion"].reshape(-1, 4)
    wrong = c.copy()
    others = c < 0.5
    wrong[others] = 0.0
    last = np.where(others, np.arange(4), -1).argmax(axis=1)
    wrong[np.arange(4_000), last] = 0.3
    found = made(drawn_from=np.where(np.arange(4_000)[:, None] >= 2_400, wrong, c))
    assert likeliest(found).p > 0.001
    assert by_position(found).p < 1e-9
    assert 26 <= by_position(found).since <= 33


def test_many_positions() -> None:
    """Positions from the sixteenth on count as one, and logs may be longer than a batch."""
    n, k = 100_500, 20
    even = np.full((n, k), 1.0 / k)
    chance = np.random.default_rng(3)
    sound = logged(even, {"c": even}, chance.integers(0, k, n), np.zeros(n), np.zeros(n))
    assert by_position(sound).p > 1e-6
    wrong = logged(even, {"c": even}, chance.integers(0, k - 1, n), np.zeros(n), np.zeros(n))
    assert by_position(wrong).p < 1e-9


def test_what_does_not_count_is_not_compared() -> None:
    """Draws whose window is open, or that nobody was shown, may be as they like."""
    log = made()
    wrong = log.by_policy["champion"].reshape(-1, 4)[:, 0] > 0.5
    chosen = np.where(wrong, 3, log.chosen)
    for found in (made(chosen=chosen, matured=~wrong), made(chosen=chosen, shown=~wrong)):
        assert by_position(found).p > 1e-6
        assert likeliest(found).p > 1e-6
    assert by_position(made(chosen=chosen)).p < 1e-9


def test_nothing_varies() -> None:
    """Where every choice was certain there is nothing to compare."""
    certain = np.tile([1.0, 0.0], (50, 1))
    log = logged(certain, {"c": certain}, np.zeros(50, int), np.zeros(50), np.zeros(50))
    assert likeliest(log) == by_position(log) == Draws(1.0, 0)


def test_both_together() -> None:
    """Twice the smaller chance, and what belongs to it."""
    assert together(Draws(0.25, 3), Draws(0.125, 4)) == Draws(0.25, 4)
    assert together(Draws(0.75, 3), Draws(1.0, 4)) == Draws(1.0, 3)
