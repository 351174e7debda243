"""Estimates and intervals: beside numbers of other programs, and by how often they are right."""

import numpy as np
import pytest

from app.evaluation.estimators import Estimate, clusters, dr, ips, snips
from app.evaluation.logged import Logged
from app.evaluation.regression import terms
from app.evaluation.sums import Sums, reduced
from bench.evidence import coverage, intervals, log_of
from tests.unit.app.evaluation.logs import facts, few, made, many


def ends(found: Estimate) -> list[float | None]:
    return [found.low, found.high]


def sums_of(log: Logged, name: str) -> Sums:
    q = np.array(facts()["few"]["q"]).ravel() if log.n == 20 else np.zeros(len(log.excluded))
    return reduced(log, log.by_policy[name], terms=terms(log, log.by_policy[name], q))


def test_numbers_that_were_agreed_on() -> None:
    """Points and intervals of the 20 decisions, to the last digits."""
    log, agreed = few(), facts()["few"]["agreed"]
    sums, served = sums_of(log, "e"), sums_of(log, "h")
    by = clusters(sums)
    assert (by.kind, by.count) == ("user", 20)
    assert ips(sums, by).estimate == pytest.approx(agreed["point"]["IPS"], rel=1e-15)
    assert snips(sums, by).estimate == pytest.approx(agreed["point"]["SNIPS"], rel=1e-15)
    assert dr(sums, by).estimate == pytest.approx(agreed["point"]["DR"], rel=1e-15)
    assert ips(served, by).estimate == pytest.approx(agreed["point"]["ON_POLICY"], rel=1e-15)
    assert ends(ips(sums, by)) == pytest.approx(agreed["normal_95"]["IPS"], rel=1e-14)
    assert ends(snips(sums, by)) == pytest.approx(agreed["normal_95"]["SNIPS_influence"], rel=1e-14)


@pytest.mark.parametrize("data", ["few", "many"])
def test_numbers_of_other_programs(data: str) -> None:
    """sb-obp and vw-estimators have the same points, statsmodels the same intervals clustered by user."""
    log, numbers = few() if data == "few" else many(), facts()[data]["numbers"]
    sums, served = sums_of(log, "e"), sums_of(log, "h")
    by = clusters(sums)
    assert by.count == (20 if data == "few" else 30)
    for found, name in ((ips(sums, by), "ips"), (snips(sums, by), "snips")):
        assert found.estimate == pytest.approx(numbers["sb-obp"][name], rel=1e-14)
        assert found.estimate == pytest.approx(numbers["vw-estimators"][name], rel=1e-14)
    assert ends(ips(sums, by)) == pytest.approx(numbers["statsmodels"]["ips"], rel=1e-12)
    assert ends(ips(served, by)) == pytest.approx(numbers["statsmodels"]["mean"], rel=1e-12)
    assert ends(snips(sums, by)) == pytest.approx(numbers["statsmodels"]["snips"][1:], rel=1e-12)
    if data == "few":
        assert dr(sums, by).estimate == pytest.approx(numbers["sb-obp"]["dr"], rel=1e-14)
        assert ends(dr(sums, by)) == pytest.approx(numbers["statsmodels"]["dr"], rel=1e-12)


def test_without_clusters_it_is_vowpal_wabbits() -> None:
    """Where each decision is another user's, the interval is the plain one."""
    log = many(user=np.arange(240, dtype=np.uint64))
    sums = sums_of(log, "e")
    assert ends(ips(sums, clusters(sums))) == pytest.approx(
        facts()["many"]["numbers"]["vw-estimators"]["ips_interval"], rel=1e-12
    )


def test_few_users_are_judged_by_time() -> None:
    """With fewer than 20 users, blocks of hours are the unit: one hour each, until there are more than enough."""
    user = np.arange(4_000, dtype=np.uint64) % np.uint64(19)
    for hours, count in ((50, 25), (30, 30), (25, 25), (8, 19), (19, 19), (1_000, 100)):
        log = made(hour=np.arange(4_000) * hours // 4_000, user=user)
        by = clusters(sums_of(log, "challenger"))
        assert (by.kind, by.count) == ("hours" if count != 19 else "user", count)
        assert by.of.max() == count - 1
    twenty = made(user=np.arange(4_000, dtype=np.uint64) % np.uint64(20))
    assert clusters(sums_of(twenty, "challenger")).kind == "user"
    buckets = reduced(twenty, twenty.by_policy["challenger"], by="bucket")
    assert (clusters(buckets).kind, clusters(buckets).count) == ("bucket", 20)


def test_only_clusters_with_an_outcome_count() -> None:
    """Users of whom nothing is known are none to judge by."""
    log = made()
    is_known = log.user < 64 * 15
    log = made(reward=np.where(is_known, 1.0, np.nan), hour=np.zeros(4_000, np.int64))
    assert clusters(sums_of(log, "challenger")).count == 15


def test_one_cluster_has_no_interval() -> None:
    """Nothing is known of the error."""
    log = few(user=np.zeros(20, np.uint64))
    sums = sums_of(log, "e")
    assert ends(ips(sums, clusters(sums))) == [None, None]
    assert ips(sums, clusters(sums)).scaled(-1.0, 1.0) == Estimate(2 * 0.714375 - 1, None, None)


def test_in_units_of_reward() -> None:
    """From 0..1 to the loop's rewards."""
    assert Estimate(0.5, 0.25, 1.0).scaled(-1.0, 3.0) == Estimate(1.0, 0.0, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize(("decisions", "size", "least"), [(200, 23, 0.76), (800, 92, 0.8), (1_600, 184, 0.8)])
def test_intervals_hold_the_truth(decisions: int, size: int, least: float) -> None:
    """Nearly as often as they say, at an effective size from 100 on, with users who differ (150 logs, odds 1e-9)."""
    found = list(intervals(log_of(150, decisions, seed=decisions), fit=False))
    assert np.mean([each for each, _ in found]) == pytest.approx(size, rel=0.1)
    shares = coverage([estimates for _, estimates in found])
    assert set(shares) == {"mean", "ips", "snips"}
    assert min(shares.values()) > least, shares


def test_intervals_of_the_doubly_robust_estimate_hold_the_truth() -> None:
    """With a regression for each log (60 logs, odds 1e-9)."""
    found = [next(intervals(log_of(1, 800, seed=seed), fit=True))[1] for seed in range(60)]
    assert coverage(found)["dr"] > 0.75
    widths = {name: np.mean([each[name].high - each[name].low for each in found]) for name in ("ips", "dr")}  # type: ignore[operator]
    assert widths["dr"] < 0.93 * widths["ips"]
