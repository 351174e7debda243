"""What each decision adds to the sums, by hand."""

import numpy as np
import pytest

from app.evaluation.weighed import Weighed, chosen_places, outcomes, per_decision, usable
from tests.unit.app.evaluation.logs import few, logged

# Two decisions; in the first the second candidate is drawn, in the other the third.
H = np.array([[0.5, 0.25, 0.25], [0.6, 0.0, 0.4]])
C = np.array([[0.8, 0.1, 0.1], [1.0, 0.0, 0.0]])
E = np.array([[0.0, 1.0, 0.0], [0.2, 0.5, 0.3]])
TWO = logged(H, {"c": C, "e": E}, [1, 2], np.array([1.0, 0.5]), [0, 1])


def test_columns() -> None:
    """Weights, their expected squares, mass where nothing was drawn, and how often the likeliest was drawn."""
    columns = Weighed.of(TWO, E.ravel()).columns()
    assert columns["w"].tolist() == [4.0, 0.3 / 0.4]
    assert columns["w2"].tolist() == [16.0, pytest.approx(0.5625)]
    assert columns["wr"].tolist() == [4.0, pytest.approx(0.375)]
    assert columns["chi"].tolist() == [4.0, pytest.approx(0.04 / 0.6 + 0.09 / 0.4)]
    assert columns["off"].tolist() == [0.0, 0.5]
    assert columns["explores"].tolist() == [0.0, 0.5]
    assert columns["champion_explores"].tolist() == [pytest.approx(0.2), 0.0]
    assert columns["hits"].tolist() == [0.0, 0.0]
    assert columns["h_max"].tolist() == [0.5, 0.6]
    assert columns["h_variance"].tolist() == [0.25, pytest.approx(0.24)]


def test_a_tie_is_a_hit_of_the_first() -> None:
    """Of equally likely candidates the first counts as the likeliest."""
    even = np.full((2, 2), 0.5)
    assert Weighed.of(logged(even, {"c": even}, [0, 1], np.zeros(2), [0, 1]), even.ravel()).columns()[
        "hits"
    ].tolist() == [
        1.0,
        0.0,
    ]


def test_mass_over_a_weight() -> None:
    """The mass on candidates whose weight is greater, also by powers of two."""
    weighed = Weighed.of(TWO, E.ravel())
    assert weighed.mass_over(3.9).tolist() == [1.0, 0.0]
    assert weighed.mass_over(4.0).tolist() == [0.0, 0.0]
    assert weighed.masses(3).tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_what_does_not_count_adds_nothing() -> None:
    """A decision whose window is open, that was not shown, that was not scored, or without propensities."""
    for changes in (
        {"matured": np.array([True, False])},
        {"shown": np.array([True, False])},
        {"by_policy": {"c": C.ravel(), "e": np.array([*E[0], np.nan, np.nan, np.nan])}},
        {"propensities": np.array([*H[0], 0.6, np.nan, 0.4])},
        {"propensities": np.array([*H[0], 0.6, 0.0, 0.3])},
        {"propensities": np.array([*H[0], 0.9, -0.3, 0.4])},
        {"propensities": np.array([*H[0], 0.6, 0.4, 0.0])},
    ):
        log = logged(H, {"c": C, "e": E}, [1, 2], np.array([1.0, 0.5]), [0, 1], **changes)
        columns = Weighed.of(log, log.by_policy["e"]).columns()
        for name in ("n", "known", "w", "wr", "chi", "off", "h_max", "hits", "gate_n", "d2", "explores"):
            assert columns[name][1] == 0.0, (changes, name)
        assert columns["n"][0] == 1.0
        assert columns["decisions"].tolist() == [1.0, 1.0]
        assert columns["unlogged"].tolist() == [0.0, float("propensities" in changes)]
        assert columns["open"].tolist() == [0.0, float("matured" in changes)]


def test_silence() -> None:
    """It is an outcome if the loop says what it counts as; else it is left out of what needs one, not of the rest."""
    silent = {"reward": np.array([np.nan, 0.5]), "low": -1.0}
    log = logged(H, {"c": C, "e": E}, [1, 2], np.zeros(2), [0, 1], **silent, missing=0.0)
    columns = Weighed.of(log, E.ravel()).columns()
    assert columns["known"].tolist() == [1.0, 1.0]
    assert columns["rewarded"].tolist() == [0.0, 1.0]
    assert columns["r"].tolist() == [0.5, 0.75]
    columns = Weighed.of(logged(H, {"c": C, "e": E}, [1, 2], np.zeros(2), [0, 1], **silent), E.ravel()).columns()
    assert columns["known"].tolist() == [0.0, 1.0]
    assert columns["known_w"].tolist() == [0.0, pytest.approx(0.75)]
    assert columns["w"][0] == 4.0
    assert columns["gate_lost"].tolist() == [1.0, 0.0]
    assert columns["lost_hits"].tolist() == [-0.5, 0.0]
    assert columns["lost_h_variance"].tolist() == [0.25, 0.0]
    assert columns["lost_e"].tolist() == [0.75, 0.0]
    assert columns["lost_e_variance"].tolist() == [0.1875, 0.0]


def test_the_gate_reads_what_stood_at_the_deadline() -> None:
    """A correction that came later is in the estimates, and not in the gate."""
    log = logged(H, {"c": C, "e": E}, [1, 2], np.array([0.0, 0.5]), [0, 1], reward_in_time=np.array([1.0, 0.5]))
    columns = Weighed.of(log, E.ravel()).columns()
    assert columns["wr"].tolist()[0] == 0.0
    assert columns["d"].tolist() == [pytest.approx(3.6), pytest.approx(0.375)]
    assert columns["u"].tolist() == [0.0, pytest.approx(0.375)]
    assert columns["d2"].tolist() == [pytest.approx(12.96), pytest.approx(0.140625)]


def test_the_gate_sums_a_prefix() -> None:
    """Nothing from the first decision whose window is open on, not even a deferred one's that nobody has shown."""
    log = few(matured=np.arange(20) != 7, shown=np.arange(20) != 7)
    columns = Weighed.of(log, log.by_policy["e"]).columns()
    assert columns["gate_n"].tolist() == [1.0] * 7 + [0.0] * 13
    assert not columns["d2"][7:].any()
    assert columns["n"].sum() == 19.0


def test_the_gate_under_a_canary() -> None:
    """The difference has the champion's part of the draws as its unit, so that it is at least -1."""
    h = 0.9 * C + 0.1 * E
    log = logged(h, {"c": C, "e": E}, [0, 0], np.ones(2), [0, 1], share=np.full(2, 0.1))
    columns = Weighed.of(log, E.ravel()).columns()
    assert columns["d"].tolist() == [pytest.approx(-1.0), pytest.approx(0.9 * -0.8 / 0.92)]
    assert columns["share"].tolist() == [0.1, 0.1]
    assert not columns["broken"].any()
    log = logged(h, {"c": C, "e": E}, [0, 0], np.ones(2), [0, 1])
    assert Weighed.of(log, E.ravel()).columns()["broken"].tolist() == [1.0, 0.0]


def test_a_champion_that_was_not_scored() -> None:
    """Without its probabilities there is nothing to compare with, so the gate leaves the decision out."""
    nobody = np.array([*C[0], np.nan, np.nan, np.nan])
    log = logged(H, {"c": C, "e": E}, [1, 2], np.ones(2), [0, 1], by_policy={"c": nobody, "e": E.ravel()})
    columns = Weighed.of(log, E.ravel()).columns()
    assert columns["gate_n"].tolist() == [1.0, 0.0]
    assert columns["champion_explores"].tolist() == [pytest.approx(0.2), 0.0]
    assert columns["n"].tolist() == [1.0, 1.0]


def test_parts() -> None:
    """Candidates of different numbers are added up each in its decision."""
    log = logged(H, {"c": C}, [1, 2], np.zeros(2), [0, 1])
    assert per_decision(log, np.arange(6.0)).tolist() == [3.0, 12.0]
    assert chosen_places(log).tolist() == [1, 5]
    assert usable(log).tolist() == [True, True]
    assert outcomes(log, np.array([0.25, np.nan])).tolist() == [0.25, pytest.approx(np.nan, nan_ok=True)]
