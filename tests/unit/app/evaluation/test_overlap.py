"""Refusals: on logs made to deserve each, and not on those beside them."""

from typing import Any

import numpy as np
import pytest

from app.evaluation.draws import Draws
from app.evaluation.logged import Logged
from app.evaluation.overlap import (
    Refusal,
    draws_match,
    effective,
    heavy,
    heavy_exactly,
    masses,
    mean_weight_z,
    refusals,
    warnings,
)
from app.evaluation.sums import Sums, reduced
from tests.unit.app.evaluation.logs import draw, facts, few, greedy, logged, made

SOUND = Draws(1.0, 0)


def sums_of(log: Logged, name: str = "challenger") -> Sums:
    return reduced(log, log.by_policy[name])


def refused(log: Logged, name: str = "challenger") -> list[Refusal]:
    sums = sums_of(log, name)
    return list(refusals(sums, heavy_exactly(sums, log, log.by_policy[name])))


def rules(log: Logged, name: str = "challenger") -> list[str]:
    return [refusal.rule for refusal in refused(log, name)]


def one_sided(n: int, p: float, *, drawn: Any = None, reward: Any = None) -> Logged:
    """A challenger that always takes the second of two candidates, which is drawn with probability `p`."""
    h, e = np.tile([1.0 - p, p], (n, 1)), np.tile([0.0, 1.0], (n, 1))
    # Exactly as often as it should be.
    chosen = (np.arange(n) % round(1.0 / p) == 0).astype(int) if drawn is None else drawn
    found = np.ones(n) if reward is None else reward(chosen)
    return logged(h, {"champion": h, "challenger": e}, chosen, found, np.arange(n) % 50)


def test_a_sound_log_is_not_refused() -> None:
    """Neither for the champion nor for a challenger that it covers."""
    assert rules(made()) == rules(made(), "champion") == []
    assert list(draws_match(sums_of(made(), "champion"), SOUND)) == []
    assert list(warnings(sums_of(made()), has_learned=True)) == []


def test_given_numbers() -> None:
    """Effective size, support and mean weight of the 20 decisions."""
    agreed, sums = facts()["few"]["agreed"]["diagnostics"], sums_of(few(), "e")
    assert effective(sums) == pytest.approx(min(agreed["ESS"], 400.0 / sums.total("chi")), rel=1e-14)
    assert sums.total("w") ** 2 / sums.total("w2") == pytest.approx(agreed["ESS"], rel=1e-14)
    # The given one has the observed spread of the weights; the rule has the one that is to be expected of them.
    variance = (sums.total("w2") - sums.total("w") ** 2 / 20) / 19
    assert (sums.total("w") - 20) / (20 * variance) ** 0.5 == pytest.approx(agreed["mean_w_z"], rel=1e-12)
    assert mean_weight_z(sums) == pytest.approx((sums.total("w") - 20) / (sums.total("chi") - 20) ** 0.5, rel=1e-12)


def test_support() -> None:
    """Any mass where nothing could be drawn; the share is said, and a floor would help."""
    c = np.tile([0.5, 0.5, 0.0], (2_000, 1))
    e = c.copy()
    e[7] = [0.5, 0.4, 0.1]
    log = logged(c, {"champion": c, "challenger": e}, np.arange(2_000) % 2, np.ones(2_000), np.arange(2_000) % 50)
    (found,) = refused(log)
    assert (found.rule, found.more) == ("support", None)
    assert "5e-05 of the policy's probability" in found.why
    assert "floor" in found.help
    e[7] = c[7]
    assert rules(logged(c, {"champion": c, "challenger": e}, log.chosen, np.ones(2_000), np.arange(2_000) % 50)) == []
    # What is missing from the weights is known, so it is no second sign.
    e[:] = [0.25, 0.25, 0.5]
    log = logged(c, {"champion": c, "challenger": e}, log.chosen, np.ones(2_000), np.arange(2_000) % 50)
    assert rules(log) == ["support"]
    assert mean_weight_z(sums_of(log)) == 0.0


def test_effective_size() -> None:
    """Below 100 it is refused, with how many more decisions it takes; below 200 there is a warning."""
    (found,) = refused(one_sided(990, 0.1))
    assert (found.rule, found.more) == ("effective size", 10)
    assert "990 decisions are worth only 99.0" in found.why
    assert rules(one_sided(1_000, 0.1)) == []
    said = list(warnings(sums_of(one_sided(1_990, 0.1)), has_learned=False))
    assert said == ["the effective size is only 199: from 200 on, intervals are reliable"]
    assert list(warnings(sums_of(one_sided(2_000, 0.1)), has_learned=False)) == []
    assert list(warnings(sums_of(one_sided(990, 0.1)), has_learned=False)) == []


def test_luck_makes_no_effective_size() -> None:
    """The smaller of what was observed and what was to be expected counts: here rare choices were drawn too often."""
    lucky = one_sided(600, 0.1, drawn=(np.arange(600) % 4 == 0).astype(int))
    assert effective(sums_of(lucky)) == pytest.approx(60.0)
    unlucky = one_sided(1_500, 0.1, drawn=(np.arange(1_500) % 20 == 0).astype(int))
    assert effective(sums_of(unlucky)) == pytest.approx(75.0)
    never = one_sided(500, 0.1, drawn=np.zeros(500, int))
    assert effective(sums_of(never)) == 0.0
    assert ("effective size", None) in [(each.rule, each.more) for each in refused(never)]


def rarely(n: int, share: float) -> Logged:
    """A challenger that differs from the champion in a `share` of the decisions, by weights of 100."""
    h = np.tile([0.99, 0.01], (n, 1))
    differs = np.arange(n) < share * n
    e = np.where(differs[:, None], [0.0, 1.0], h)
    # In those decisions the second one is drawn as often as it should be.
    chosen = (differs & (np.arange(n) % 100 == 0)).astype(int)
    return logged(h, {"champion": h, "challenger": e}, chosen, np.ones(n), np.arange(n) % 50)


def test_dominance() -> None:
    """Over one part in a hundred on weights over n/50, though the effective size is enough."""
    log = rarely(4_000, 0.02)
    (found,) = refused(log)
    assert found.rule == "dominance"
    assert "2.0% of the policy's probability" in found.why
    # From n = 5,000 on, 100 is not over n/50; said is the next power of two.
    assert found.more == 50 * 128 - 4_000
    assert rules(rarely(5_000, 0.02)) == []
    assert rules(rarely(4_000, 0.01)) == []


def test_masses() -> None:
    """The policy's mass by weight, which adds up to 1: here weights are 1/7, 1 and 7."""
    log = made()
    found = masses(sums_of(log))
    assert len(found) == 17
    assert sum(found) == pytest.approx(1.0)
    assert found[0] + found[2] == pytest.approx(1.0)
    assert found[2] == pytest.approx(sums_of(log).total("over_4") / 4_000)
    assert masses(sums_of(few(matured=np.zeros(20, bool)), "e")) == [0.0] * 17


def test_dominance_by_sums() -> None:
    """They know the mass over powers of two alone, so the next lower one than n/50 is taken."""
    log = rarely(5_000, 0.02)
    assert heavy_exactly(sums_of(log), log, log.by_policy["challenger"]) == 0.0
    assert heavy(sums_of(log)) == pytest.approx(0.02)
    log = rarely(6_400, 0.02)
    assert heavy(sums_of(log)) == 0.0
    assert heavy(sums_of(made(30))) == pytest.approx(sums_of(made(30)).total("over_2") / 30.0)


def test_dominance_beyond_all_powers() -> None:
    """Where weights are greater than any that is counted, no number of decisions is named."""
    h, e = np.tile([1.0 - 1e-6, 1e-6], (1_000, 1)), np.tile([0.5, 0.5], (1_000, 1))
    log = logged(h, {"champion": h, "challenger": e}, np.zeros(1_000, int), np.ones(1_000), np.arange(1_000))
    (found,) = (each for each in refused(log) if each.rule == "dominance")
    assert found.more is None


def test_mean_weight() -> None:
    """Weights that do not add up to n are a sign of wrong probabilities; those of chance are not."""
    log = made()
    # The challenger's probabilities as they would be from another model than the one that was there.
    wrong = log.by_policy["champion"].reshape(-1, 4)[np.arange(4_000), log.chosen] > 0.5
    e = np.where(wrong[:, None], [[0.1, 0.1, 0.1, 0.7]], [[0.7, 0.1, 0.1, 0.1]])
    e[np.arange(4_000), log.chosen] += 0.5
    e /= e.sum(axis=1, keepdims=True)
    broken = made(by_policy={"champion": log.by_policy["champion"], "challenger": e.ravel()})
    (found,) = refused(broken)
    assert found.rule == "mean weight"
    assert mean_weight_z(sums_of(broken)) > 4.0
    assert "instead of 4,000" in found.why
    assert mean_weight_z(sums_of(log, "champion")) == 0.0
    # The second of two is drawn more often than it should be, by so many thirtieths of a standard deviation.
    for more, expected in ((119, []), (121, ["mean weight"])):
        n = 9_000
        drawn = (np.arange(n) < n / 2 + more * np.sqrt(n) / 60).astype(int)
        assert rules(one_sided(n, 0.5, drawn=drawn)) == expected
    assert max(abs(mean_weight_z(sums_of(made(1_000, seed=seed)))) for seed in range(30)) < 4.0


def test_a_lucky_log_is_not_refused_for_its_weights() -> None:
    """A greedy target that rarely differs has few large weights: their observed spread would refuse it, and the
    expected one does not."""
    for seed in range(30):
        chance = np.random.default_rng(seed)
        h = np.tile([0.91, *[0.01] * 9], (2_000, 1))
        e = np.tile([1.0, *[0.0] * 9], (2_000, 1))
        e[chance.random(2_000) < 0.05] = [0.0, 1.0, *[0.0] * 8]
        chosen = (h.cumsum(axis=1) > chance.random((2_000, 1))).argmax(axis=1)
        log = logged(h, {"champion": h, "challenger": e}, chosen, np.ones(2_000), np.arange(2_000))
        assert abs(mean_weight_z(sums_of(log))) < 4.0


def test_draws() -> None:
    """Below 0.001 the log is refused."""
    log = sums_of(made(), "champion")
    (found,) = draws_match(log, Draws(0.0009, 5))
    assert (found.rule, found.why) == ("draws", "what was drawn does not match the propensities (p = 0.0009)")
    assert list(draws_match(log, Draws(0.0011, 5))) == []


def test_propensities() -> None:
    """Over one in a hundred missing or impossible."""
    for every, expected in ((99, ["propensities"]), (101, [])):
        propensities = made().propensities.reshape(-1, 4).copy()
        propensities[::every] = np.nan
        log = made(propensities=propensities.ravel())
        found = list(draws_match(reduced(log, log.propensities), SOUND))
        assert [each.rule for each in found] == expected
        assert not found or "1.0% of the decisions have no propensities" in found[0].why


def test_missing_outcomes() -> None:
    """Refused where answers depend on what was chosen; left out and said where they do not."""
    chance = np.random.default_rng(5)
    answers = np.where(np.arange(2) == 0, 0.3, 0.6)

    def silent(chosen: Any, share: Any) -> Any:
        return np.where(chance.random(len(chosen)) < share, 1.0, np.nan)

    drawn = chance.integers(0, 2, 4_000)
    (found,) = refused(one_sided(4_000, 0.5, drawn=drawn, reward=lambda chosen: silent(chosen, answers[chosen])))
    assert found.rule == "missing outcomes"
    assert "`missing`" in found.help
    evenly = one_sided(4_000, 0.5, drawn=drawn, reward=lambda chosen: silent(chosen, 0.45))
    assert refused(evenly) == []
    assert "decisions without an outcome were left out" in next(warnings(sums_of(evenly), has_learned=False))
    # Draws, effective size and mean weight are those of all decisions.
    assert effective(sums_of(evenly)) > 1_900.0
    # The answers may also depend on what the policy prefers, whatever is likely.
    even = np.full((4_000, 4), 0.25)
    e = greedy(chance.normal(size=(4_000, 4)), 0.2)
    drawn = draw(even, chance)
    reward = silent(drawn, np.where(e[np.arange(4_000), drawn] > 0.5, 0.6, 0.9))
    log = logged(even, {"champion": even, "challenger": e}, drawn, reward, np.arange(4_000))
    assert rules(log) == ["missing outcomes"]
    assert rules(log, "champion") == []
    # Where nothing was left to chance, nothing can depend on it.
    certain = np.tile([1.0, 0.0], (500, 1))
    silence = np.where(np.arange(500) % 2, 1.0, np.nan)
    log = logged(certain, {"champion": certain}, np.zeros(500, int), silence, np.arange(500))
    assert rules(log, "champion") == []
    # Whom it is answered may depend on everything else: here on whether there is an alternative at all.
    log = made()
    user_answers = log.user % 128 < 64
    assert rules(made(reward=np.where(user_answers, log.reward, np.nan))) == []


def test_nothing_counts() -> None:
    """Where no decision counts there is only this to say."""
    for changes in ({"matured": np.zeros(20, bool)}, {"reward": np.full(20, np.nan)}):
        log = few(**changes)
        assert rules(log, "e") == ["nothing"]
        assert mean_weight_z(sums_of(log, "e")) == 0.0 or "reward" in changes
        assert heavy(sums_of(log, "e")) >= 0.0


def test_a_policy_that_explores_less_is_warned_of() -> None:
    """It lives on the champion's exploration; a baseline has learned nothing from it."""
    log = made()
    e = log.by_policy["champion"].reshape(-1, 4)
    for share, expected in ((0.49, 1), (0.51, 0)):
        careful = np.where(e > 0.5, 1.0 - 0.3 * share, 0.1 * share)
        sums = sums_of(made(by_policy={"champion": e.ravel(), "challenger": careful.ravel()}))
        assert len([*warnings(sums, has_learned=True)]) == expected
        assert not [*warnings(sums, has_learned=False)]
    assert "it explores less (0.0%" in next(warnings(sums_of(one_sided(4_000, 0.25)), has_learned=True))
