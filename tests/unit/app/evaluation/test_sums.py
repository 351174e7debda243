"""Sums: the same for any order and any parts."""

import numpy as np
import pytest

from app.evaluation.estimators import clusters, ips, snips
from app.evaluation.gate import bounds
from app.evaluation.logged import BUCKETS, Logged
from app.evaluation.sums import COLUMNS, OCTAVES, Sums, merged, reduced
from tests.unit.app.evaluation.logs import facts, few, made


def part(log: Logged, chosen: np.ndarray) -> Logged:
    """The decisions of a log (with four candidates each) for which `chosen` is true."""
    wide, n = np.repeat(chosen, 4), int(chosen.sum())
    names = ("chosen", "reward", "reward_in_time", "user", "hour", "matured", "shown", "share", "context")
    return Logged(
        champion=log.champion,
        starts=np.arange(0, 4 * n + 1, 4),
        propensities=log.propensities[wide],
        by_policy={name: each[wide] for name, each in log.by_policy.items()},
        eras={name: each[chosen] for name, each in log.eras.items()},
        excluded=log.excluded[wide],
        features=log.features[wide],
        low=log.low,
        **{name: getattr(log, name)[chosen] for name in names},
    )


def test_given_sums() -> None:
    """The sums of the gate that were handed over with the 20 decisions."""
    sums, given = reduced(few(), few().by_policy["e"]), facts()["few"]["agreed"]["gate_sums_20_rows"]
    assert [sums.total(name) for name in ("n", "d", "d2", "u", "u2")] == pytest.approx(
        [given[name] for name in ("n", "sum_D", "sum_D2", "sum_U", "sum_U2")], rel=1e-15
    )
    assert sums.total("w_max") == facts()["few"]["agreed"]["diagnostics"]["max_w"]
    assert sums.total("w") / 20 == pytest.approx(facts()["few"]["agreed"]["diagnostics"]["mean_w"], rel=1e-15)


@pytest.mark.parametrize("by", ["user", "bucket"])
def test_parts_add_up(by: str) -> None:
    """Any parts of a log, in any order, have the sums of all of it."""
    log = made()
    whole = reduced(log, log.by_policy["challenger"], by=by)  # type: ignore[arg-type]
    group = np.random.default_rng(1).integers(0, 3, log.n)
    parts = [part(log, group == number) for number in (2, 0, 1)]
    together = merged([reduced(each, each.by_policy["challenger"], by=by) for each in parts])  # type: ignore[arg-type]
    for key in ("hour", "era", "cluster"):
        assert getattr(together, key).tolist() == getattr(whole, key).tolist()
    np.testing.assert_allclose(together.cells, whole.cells, rtol=1e-12, atol=1e-12)
    assert together.by == by


def test_sums_by_buckets_give_what_decisions_give() -> None:
    """Estimates and gate are those of the decisions; only the intervals are by groups of users instead of users."""
    log = made()
    users, buckets = (reduced(log, log.by_policy["challenger"], by=by) for by in ("user", "bucket"))
    assert len(np.unique(users.cluster)) == 100
    assert len(np.unique(buckets.cluster)) == BUCKETS
    for estimator in (ips, snips):
        one, other = estimator(users, clusters(users)), estimator(buckets, clusters(buckets))
        assert other.estimate == pytest.approx(one.estimate, rel=1e-12)
        assert one.low is not None
        assert other.low is not None
        assert other.estimate - other.low == pytest.approx(one.estimate - one.low, rel=0.4)
    assert bounds(buckets).low == pytest.approx(bounds(users).low, rel=1e-9)
    for column in (*COLUMNS[:-1], "w_max"):
        if column != "dr":
            assert buckets.total(column) == pytest.approx(users.total(column), rel=1e-12), column


def test_octaves() -> None:
    """The mass over powers of two is that of the decisions, and stops where no weight is."""
    log = made(epsilon=0.05)
    sums = reduced(log, log.by_policy["challenger"])
    # A greedy challenger's weight is (1 - .0375)/.0125 = 77 where the champion's choice is another one.
    assert sums.total("over_64") > 0.5 * log.n
    assert sums.total("over_128") == 0.0
    assert OCTAVES[0] == "over_2"


def test_the_gate_reads_the_last_era_up_to_the_first_open_hour() -> None:
    """Also where the parts were made apart, hour by hour."""
    eras = {"challenger": np.repeat([0, 1], 2_000)}
    is_open = np.isin(np.arange(4_000), (3_000, 3_500))
    log = made(eras=eras, matured=~is_open)
    whole = reduced(log, log.by_policy["challenger"], eras["challenger"])
    assert whole.of_gate().total("gate_n") == 1_000
    hourly = [part(log, log.hour == hour) for hour in range(50)]
    sums = merged([reduced(each, each.by_policy["challenger"], each.eras["challenger"]) for each in hourly])
    assert sums.total("gate_n") > 3_000
    for column in ("gate_n", "d", "d2", "u", "u2"):
        assert sums.of_gate().total(column) == pytest.approx(whole.of_gate().total(column), rel=1e-9)


def test_an_era_in_which_it_was_not_scored_is_none() -> None:
    """A shadow that was dropped is judged by the last era it was in."""
    log = made()
    e = np.where(np.arange(len(log.excluded)) < 8_000, log.by_policy["challenger"], np.nan)
    log = made(by_policy={"champion": log.by_policy["champion"], "challenger": e})
    sums = reduced(log, e, np.repeat([3, 4], 2_000))
    assert sums.of_gate().total("gate_n") == 2_000


def test_nothing() -> None:
    """An empty log has empty sums."""
    log = part(made(), np.zeros(4_000, bool))
    sums = reduced(log, log.by_policy["challenger"])
    assert isinstance(sums, Sums)
    assert (len(sums.hour), sums.total("n"), sums.total("w_max")) == (0, 0.0, 0.0)
    assert sums.of_gate().total("gate_n") == 0.0
